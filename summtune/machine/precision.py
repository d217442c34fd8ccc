"""The number formats of a training, as far as its memory depends on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Precision:
    """How a training computes.

    Args:
        numbers: ``autocast`` computes in bf16 with weights, and so sums between layers, in fp32; ``bf16`` has both in
            bf16, with an adapter's weights in fp32 where there is one.
        device: that computes.
    """

    numbers: Literal["fp32", "autocast", "bf16"]
    device: Literal["cuda", "cpu"]

    @property
    def activation(self) -> int:
        """Bytes of what a matrix product writes."""
        return 4 if self.numbers == "fp32" else 2

    @property
    def stream(self) -> int:
        """Bytes of the sums between layers."""
        return 2 if self.numbers == "bf16" else 4

    @property
    def copies(self) -> bool:
        """Whether each matrix product copies its input into another format."""
        return self.numbers == "autocast"

    def mask(self, values: int) -> int:
        """Return the bytes per element of a dropout mask: a CPU keeps factors in the format of the values.

        Args:
            values: bytes of what is dropped.
        """
        return 1 if self.device == "cuda" else values
