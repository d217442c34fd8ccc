"""Says which elements dropout drops."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Drop:
    """Which elements of a tensor are dropped.

    Args:
        seed: determines which; below 2**62.
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
