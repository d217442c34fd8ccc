"""Defines the passes of `summtune.work.cpu.kernels`, compiled or in torch's own operations, and what dropout drops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

MASKED = -1e30  # a mask adds less than this to the score of a masked key; kMasked in compiled_passes.cpp


@dataclass(frozen=True)
class Drop:
    """Which elements of a tensor are dropped.

    Args:
        seed: determines which; below 2**62. Compiled passes and torch's drop different ones.
        probability: of an element to be dropped, above 0 and below 1.
    """

    seed: int
    probability: float

    def rounded(self, bits: int) -> tuple[int, float]:
        """Return the probability times 2**bits as a whole number, and the factor for kept elements."""
        most = 2**bits
        dropped = min(round(self.probability * most), most - 1)
        return dropped, most / (most - dropped)


def draw(probability: float) -> Drop | None:
    """Return what is dropped, with a seed from torch's generator; None if nothing is dropped."""
    return Drop(int(torch.randint(2**62, ())), probability) if probability else None


def lengths_of(seen: torch.Tensor) -> list[int]:
    """Return the length up to the last visible token, at least 1, for each row of a boolean (rows, tokens)."""
    ends = (seen * torch.arange(1, seen.shape[1] + 1)).amax(1).clamp(min=1)
    result: list[int] = ends.tolist()
    return result


class Passes(Protocol):
    """Forward and backward passes over the elements of tensors; a backward pass is named after its forward pass."""

    def dropout(self, values: torch.Tensor, drop: Drop, dtype: torch.dtype) -> torch.Tensor:
        """Return ``values`` as ``dtype``, some elements zero and the others scaled up; also its own gradient."""

    def rms_norm(
        self, values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the norm and the inverse root mean squares, (…, 1) in fp32.

        Args:
            values: (…, features).
            weight: (features,).
            epsilon: added to the mean square.
            dtype: of the norm.
        """

    def rms_norm_gradient(
        self, gradient: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of the values and of the weight."""

    def softmax(
        self, scores: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None, drop: Drop | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the shares, negative where they are dropped, and the remaining ones, scaled up.

        Args:
            scores: (batch, heads, queries, keys).
            bias: (1, heads, queries, keys), added to them.
            mask: (batch or 1, 1, queries or 1, keys), added to them.
            drop: which shares are dropped.
        """

    def softmax_gradient(
        self, gradient: torch.Tensor, shares: torch.Tensor, drop: Drop | None, biased: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return the gradient of the scores, the remaining shares, and the gradient of the bias in fp32 if needed.

        Args:
            gradient: of the remaining shares.
            shares: of `softmax`.
            drop: as for `softmax`.
            biased: whether the gradient of a bias is needed.
        """

    def decode_attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the attention of one new token in each row, whose scores are not scaled; it has no gradient.

        Args:
            query: (rows, heads, 1, features).
            key: (rows, heads, keys, features).
            value: as ``key``.
            bias: (1, heads, 1, keys), added to the scores.
            mask: (rows or 1, 1, 1, keys), added to them; keys after the last one that is not `MASKED` need not be read.
        """

    def gated_gelu(self, gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None) -> torch.Tensor:
        """Return GELU (tanh form) of ``gate`` times ``linear``, with dropout; both have the same shape and type."""

    def gated_gelu_gradient(
        self, gradient: torch.Tensor, gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of ``gate`` and ``linear``."""

    def cross_entropy(
        self, logits: torch.Tensor, targets: torch.Tensor, differentiate: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the sum over the tokens in fp32, and its gradient if needed.

        Args:
            logits: (tokens, vocabulary).
            targets: (tokens,), int64.
            differentiate: whether the gradient is needed.
        """
