"""The loss of a micro batch: the cross-entropy summed over its target tokens, whose logits alone are computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from summtune.work.tokens.pairs import IGNORED


class TokenLoss:
    """Computes the loss of micro batches.

    The output layer reads only the positions that have a target. With a vocabulary of 32,128, padding would take a
    large part of a step, and the prompt of a decoder-only model most of its memory. The positions are found before the
    batch is moved, so that nothing waits for a GPU.

    Args:
        model: with the output layer, not yet wrapped for several processes.
        device: that computes.
        compiled: whether ``torch.compile`` compiles the model, which would compile it again for each number of target
            tokens; then all logits are computed.
    """

    def __init__(self, model: nn.Module, device: torch.device, compiled: bool = False) -> None:
        self._device = device
        self._positions: torch.Tensor | None = None
        self._compiled = compiled
        if not compiled:
            output_layer: Any = model.get_output_embeddings  # torch types attributes of modules as Tensor | Module
            output_layer().register_forward_pre_hook(self._choose)

    def __call__(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the cross-entropy summed over the target tokens of a micro batch, a scalar in fp32.

        Args:
            model: as wrapped for this layout.
            batch: of a collator, on the CPU: the model's inputs, and ``labels`` (batch, tokens), which are -100 where
                there is no target.
        """
        labels = batch["labels"].flatten()
        positions = (labels != IGNORED).nonzero().squeeze(1)
        targets, positions = self._moved(labels[positions]), self._moved(positions)
        inputs = {name: self._moved(tensor) for name, tensor in batch.items() if name != "labels"}
        self._positions = None if self._compiled else positions
        try:
            logits: torch.Tensor = model(**inputs)["logits"]
        finally:
            self._positions = None
        if logits.ndim == 3:
            logits = logits.flatten(0, 1)[positions]
        return functional.cross_entropy(logits.float(), targets, reduction="sum")

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the device; pinned memory lets a GPU copy it while it computes the step before."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _choose(self, _: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._positions is None:
            return None
        return (arguments[0].flatten(0, 1)[self._positions], *arguments[1:])
