"""Counts the weights of a model from its config, without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from summtune.base.files import CONFIG_BYTES, read_bounded
from summtune.machine.t5_shape import T5Shape, read_t5_shape
from summtune.recipe.adapters import Adapter, LayerSize
from summtune.recipe.keys import TrainingSettings


class ModelShape(Protocol):
    """The sizes of a model, from which the number of weights and the memory estimate follow."""

    @property
    def parameters(self) -> int:
        """All weights."""
        ...

    @property
    def embedding(self) -> int:
        """Weights of the embedding."""
        ...

    @property
    def largest_layer(self) -> int:
        """Weights of the largest layer."""
        ...

    @property
    def layer_sizes(self) -> dict[str, LayerSize]:
        """The linear layers, by the end of their name."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """The part of config.json that names the kind of model."""
        ...

    def activations(self, recipe: TrainingSettings, adapter: Adapter | None, size: int) -> int:
        """Return the bytes that the backward pass of one micro batch needs, at sequence_len and target_len.

        Args:
            recipe: of kind train.
            adapter: what is trained; None for all weights.
            size: bytes of an activation.
        """
        ...


# The config.json of google/flan-t5-*, so that sizes are known before the model is downloaded.
KNOWN_MODELS: dict[str, ModelShape] = {
    "google/flan-t5-small": T5Shape(32128, 512, 64, 1024, 8, 8, 6),
    "google/flan-t5-base": T5Shape(32128, 768, 64, 2048, 12, 12, 12),
    "google/flan-t5-large": T5Shape(32128, 1024, 64, 2816, 24, 24, 16),
    "google/flan-t5-xl": T5Shape(32128, 2048, 64, 5120, 24, 24, 32),
    "google/flan-t5-xxl": T5Shape(32128, 4096, 64, 10240, 24, 24, 64),
}


def shape_of(base_model: str, folder: Path | None) -> ModelShape | None:
    """Return the shape of a local model or of a known one; None if it cannot be determined.

    Args:
        base_model: the model's name in the recipe.
        folder: of its files; None if it is not downloaded yet.

    Raises:
        ModelError: a file that ends in .safetensors is not one, or a size in config.json is not a valid number.
    """
    if folder is None:
        return KNOWN_MODELS.get(base_model)
    try:
        config: Any = json.loads(read_bounded(folder / "config.json", CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return read_t5_shape(config, folder) if isinstance(config, dict) else None
