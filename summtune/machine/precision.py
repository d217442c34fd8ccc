"""The number formats of a training, as far as its memory depends on them."""

from __future__ import annotations

from enum import Enum


class Precision(Enum):
    """How a training computes.

    ``AUTOCAST`` computes in bf16 with weights, and so sums between layers, in fp32; ``BF16`` has both in bf16, with
    an adapter's weights in fp32 where there is one.
    """

    FP32 = "fp32"
    AUTOCAST = "autocast"
    BF16 = "bf16"

    @property
    def activation(self) -> int:
        """Bytes of what a matrix product writes."""
        return 4 if self is Precision.FP32 else 2

    @property
    def stream(self) -> int:
        """Bytes of the sums between layers."""
        return 2 if self is Precision.BF16 else 4

    @property
    def copies(self) -> bool:
        """Whether each matrix product copies its input into another format."""
        return self is Precision.AUTOCAST
