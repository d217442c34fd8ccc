"""The loss of a micro batch: the cross-entropy summed over its target tokens, whose logits alone are computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from summtune.work.tokens.pairs import IGNORED


class _TargetsAt(NamedTuple):
    """Where a micro batch has targets.

    Args:
        rows, columns: of each target among the labels.
        width: of the labels.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    width: int

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values (targets, features) of ``values`` (batch, tokens, features) at the targets.

        The last tokens are those of the labels: before them a model may have virtual tokens (prompt tuning).
        """
        return values[self.rows, self.columns + (values.shape[1] - self.width)]


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
        self._targets_at: _TargetsAt | None = None
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
        labels = batch["labels"]
        rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
        targets = self._moved(labels[rows, columns])
        targets_at = _TargetsAt(self._moved(rows), self._moved(columns), labels.shape[1])
        inputs = {name: self._moved(tensor) for name, tensor in batch.items() if name != "labels"}
        self._targets_at = None if self._compiled else targets_at
        try:
            logits: torch.Tensor = model(**inputs)["logits"]
        finally:
            self._targets_at = None
        if logits.ndim == 3:
            logits = targets_at.of(logits)
        return functional.cross_entropy(logits.float(), targets, reduction="sum")

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the device; pinned memory lets a GPU copy it while it computes the step before."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _choose(self, _: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._targets_at is None:
            return None
        return (self._targets_at.of(arguments[0]), *arguments[1:])
