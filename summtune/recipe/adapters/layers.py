"""The linear layers of a model, as adapters see them."""

from __future__ import annotations

from typing import NamedTuple

HEAD = "lm_head"
"""The end of the name of the layer that writes the logits; its inputs are as wide as an embedding."""

FP32 = 4
"""Bytes of a number in fp32."""


class LayerSize(NamedTuple):
    """The linear layers with one name: their number and their size.

    Args:
        layers: number of layers.
        inputs, outputs: features of each layer.
    """

    layers: int
    inputs: int
    outputs: int
