"""Counts the weights of a model from its config, without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from summtune.base.files import CONFIG_BYTES, read_bounded
from summtune.machine.decoder_shape import DecoderShape, read_decoder_shape
from summtune.machine.precision import Precision
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
    def looked_up(self) -> int:
        """Weights that no matrix product reads, such as an embedding that is not lm_head, too."""
        ...

    @property
    def used_twice(self) -> int:
        """Weights that a model uses in two places: an embedding that is lm_head, too, or that of two stacks."""
        ...

    @property
    def unquantized(self) -> int:
        """Weights that a quantized model keeps as they are: all but the linear layers, and lm_head."""
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

    def activations(self, recipe: TrainingSettings, adapter: Adapter | None, precision: Precision) -> int:
        """Return the bytes that the backward pass of one micro batch needs, at sequence_len and target_len.

        Args:
            recipe: of kind train.
            adapter: what is trained; None for all weights.
            precision: of the training.
        """
        ...


# From the config.json of these models, so that sizes are known before the model is downloaded.
KNOWN_MODELS: dict[str, ModelShape] = {
    "google/flan-t5-small": T5Shape(32128, 512, 64, 1024, 8, 8, 6),
    "google/flan-t5-base": T5Shape(32128, 768, 64, 2048, 12, 12, 12),
    "google/flan-t5-large": T5Shape(32128, 1024, 64, 2816, 24, 24, 16),
    "google/flan-t5-xl": T5Shape(32128, 2048, 64, 5120, 24, 24, 32),
    "google/flan-t5-xxl": T5Shape(32128, 4096, 64, 10240, 24, 24, 64),
    "HuggingFaceTB/SmolLM2-135M-Instruct": DecoderShape("llama", 49152, 576, 30, 9, 3, 64, 1536, tied=True),
    "Qwen/Qwen3-4B": DecoderShape("qwen3", 151936, 2560, 36, 32, 8, 128, 9728, tied=True),
    "meta-llama/Llama-3.1-8B-Instruct": DecoderShape("llama", 128256, 4096, 32, 32, 8, 128, 14336),
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
    if not isinstance(config, dict):
        return None
    return read_t5_shape(config, folder) or read_decoder_shape(config, folder / "config.json")
