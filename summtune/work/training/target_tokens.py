"""Computes logits only for target tokens: with a vocabulary of 32,128, padding would take a large part of a step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from summtune.work.tokens.pairs import IGNORED


class TargetTokens:
    """Restricts a model's output layer to the positions that have a target.

    Selecting them waits for the device, so this is only for CPUs.

    Args:
        model: encoder-decoder; its logits have the shape (target tokens of the batch, vocabulary) within `of`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._chosen: torch.Tensor | None = None
        get_layer: Any = model.get_output_embeddings
        get_layer().register_forward_pre_hook(self._choose)

    @contextlib.contextmanager
    def of(self, labels: torch.Tensor) -> Iterator[None]:
        """Skip positions without a target.

        Args:
            labels: (batch, target) of the model's inputs, -100 for positions without a target.
        """
        self._chosen = labels != IGNORED
        try:
            yield
        finally:
            self._chosen = None

    def _choose(self, _: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        return None if self._chosen is None else (arguments[0][self._chosen], *arguments[1:])
