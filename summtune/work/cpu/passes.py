"""What the passes of `summtune.work.cpu.kernels` are, compiled or in torch's own operations, and what dropout drops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

MASKED = -1e30  # what a mask adds to the score of a key that does not count is less; kMasked in compiled_passes.cpp


@dataclass(frozen=True)
class Drop:
    """Which elements of a tensor are dropped.

    Args:
        seed: decides which; below 2**62. Compiled passes and torch's drop others.
        probability: of an element to be dropped, above 0 and below 1.
    """

    seed: int
    probability: float

    def rounded(self, bits: int) -> tuple[int, float]:
        """Return the probability times 2**bits as a whole number, and what kept elements are multiplied by then."""
        most = 2**bits
        dropped = min(round(self.probability * most), most - 1)
        return dropped, most / (most - dropped)


def draw(probability: float) -> Drop | None:
    """Return what is dropped, None where nothing is; torch's generator decides on the seed."""
    return Drop(int(torch.randint(2**62, ())), probability) if probability else None


def lengths_of(seen: torch.Tensor) -> list[int]:
    """Return the place after the last one that is seen, at least 1, for each row of a boolean (rows, tokens)."""
    ends = (seen * torch.arange(1, seen.shape[1] + 1)).amax(1).clamp(min=1)
    result: list[int] = ends.tolist()
    return result


class Passes(Protocol):
    """Forward and backward passes over the elements of tensors; a backward pass is named after its forward pass."""

    def dropout(self, values: torch.Tensor, drop: Drop, dtype: torch.dtype) -> torch.Tensor:
        """Return ``values`` in the wanted type, some elements zero and the others scaled up; its own gradient too."""

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
        """Return the shares, negative where they are dropped, and what is left of them, scaled up.

        Args:
            scores: (batch, heads, queries, keys).
            bias: (1, heads, queries, keys), added to them.
            mask: (batch or 1, 1, queries or 1, keys), added to them.
            drop: which shares are dropped.
        """

    def softmax_gradient(
        self, gradient: torch.Tensor, shares: torch.Tensor, drop: Drop | None, biased: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return the gradient of the scores; what is left of the shares; the gradient of the bias in fp32, where
        wanted.

        Args:
            gradient: of what is left of the shares.
            shares: of `softmax`.
            drop: as it was given there.
            biased: whether there was a bias whose gradient is wanted.
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
        """Return GELU (its form with tanh) of the gate times the other, with dropout; both of one shape and type."""

    def gated_gelu_gradient(
        self, gradient: torch.Tensor, gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of both."""

    def cross_entropy(
        self, logits: torch.Tensor, targets: torch.Tensor, differentiate: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the sum over the tokens in fp32, and its gradient where it is wanted.

        Args:
            logits: (tokens, vocabulary).
            targets: (tokens,), int64.
            differentiate: whether the gradient is wanted.
        """
