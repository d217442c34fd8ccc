"""Finds `lora_target_modules` that cannot take an adapter, from the tensor names in a model's files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from summtune.base.hints import hint
from summtune.machine.model_shapes import KNOWN_MODELS, stored_tensors

HEAD = "lm_head"
# Matrices that are looked up, not multiplied, in the encoder-decoder models of transformers.
_EMBEDDINGS = frozenset(
    {
        "shared", "embed_tokens", "embed_positions", "relative_attention_bias", "word_embeddings",
        "position_embeddings", "token_type_embeddings",
    }
)  # fmt: skip


def wrong_targets(targets: Sequence[str], base_model: str, folder: Path | None) -> Iterator[str]:
    """Yield what is wrong with each target that certainly cannot be adapted; the train stage checks the model itself.

    Args:
        targets: of the recipe: the ends of layer names.
        base_model: the model's name in the recipe.
        folder: of its files; None if it is not downloaded yet.

    Raises:
        ModelError: a file that ends in .safetensors is not a safetensors file.
    """
    for at, target in enumerate(targets):
        if target in targets[:at]:
            yield f"lora_target_modules lists a layer twice (got {target!r}); remove one"
    if folder is not None:
        shapes = stored_tensors(folder)
    elif base_model in KNOWN_MODELS:
        shapes = dict.fromkeys((f"{layer}.weight" for layer in KNOWN_MODELS[base_model].layer_sizes), (1, 1))
    else:
        return
    if not shapes:
        return
    layers = _matrices(shapes)
    for target in dict.fromkeys(targets):
        last = target.rsplit(".", 1)[-1]
        if last == HEAD and HEAD not in layers and layers & {"shared", "embed_tokens"}:
            yield tied_head(target, layers - _EMBEDDINGS)
        elif last not in layers - _EMBEDDINGS:
            yield no_layer(target, layers - _EMBEDDINGS)


def no_layer(target: str, layers: Collection[str]) -> str:
    """Return the message for a target that matches no linear layer."""
    return (
        f"lora_target_modules lists the ends of names of linear layers (got {target!r}){hint(target, layers)}; "
        f"the model has {', '.join(sorted(layers))}"
    )


def tied_head(target: str, layers: Collection[str]) -> str:
    """Return the message for a target that shares its weights with the embedding."""
    return (
        f"an adapter on a layer that shares its weights with the embedding cannot be merged (got {target!r} in "
        "lora_target_modules): it would change the embedding too; remove it, or train all weights. Other layers: "
        f"{', '.join(sorted(set(layers) - {target, HEAD}))}"
    )


def _matrices(shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the last parts of the names of all modules with a matrix."""
    names = (name for name, shape in shapes.items() if len(shape) == 2 and name.endswith(".weight"))
    return {name.removesuffix(".weight").rsplit(".", 1)[-1] for name in names}
