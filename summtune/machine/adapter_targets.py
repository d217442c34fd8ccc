"""Knows which layers of a model can take an adapter, from the tensor names in its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from summtune.base.hints import hint
from summtune.machine.model_shapes import KNOWN_MODELS
from summtune.machine.stored_tensors import stored_tensors
from summtune.recipe.adapters import Adapter
from summtune.recipe.adapters.layers import HEAD
from summtune.recipe.families import facts_about, family_of
from summtune.recipe.families.facts import kind

_HEADS = frozenset((HEAD, "embed_out"))
# Parts of a model with several kinds of input, which a text does not pass.
_NOT_TEXT = ("vision", "visual", "audio", "multi_modal", "image")


def linear_layers(config: Mapping[str, Any], base_model: str, folder: Path | None) -> tuple[str, ...]:
    """Return all linear layers of a model but its head, by the end of their name, sorted; empty if not known.

    Args:
        config: of the model, which is of a known family.
        base_model: the model's name in the recipe.
        folder: of its files; None if it is not downloaded yet.

    Raises:
        ModelError: a file that ends in .safetensors is not a safetensors file.
    """
    return tuple(sorted(_layers(config, _shapes(base_model, folder)) - _HEADS))


def wrong_targets(
    adapter: Adapter, config: Mapping[str, Any], base_model: str, folder: Path | None
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each layer that certainly cannot be adapted; the train stage checks the model itself.

    Args:
        adapter: of the recipe.
        config: of its model, which is of a known family.
        base_model: the model's name in the recipe.
        folder: of its files; None if it is not downloaded yet.

    Yields:
        The key of the recipe that names the layer, and why.

    Raises:
        ModelError: a file that ends in .safetensors is not a safetensors file.
    """
    shapes = _shapes(base_model, folder)
    stored, layers = _matrices(shapes), _layers(config, shapes)
    checked: set[str] = set()
    for key, targets in adapter.layers().items():
        if not targets:
            yield key, no_default(key, kind(config), layers)
        for target, times in Counter(targets).items():
            if target in checked:  # under another key
                continue
            checked.add(target)
            if times > 1:
                yield key, f"{key} lists a layer twice (got {target!r}); remove one"
            last = target.rsplit(".", 1)[-1]
            if last == HEAD and HEAD not in stored and stored & {"shared", "embed_tokens"}:
                yield key, tied_head(key, target, layers)
            elif stored and last not in layers:
                yield key, no_layer(key, target, layers)


def no_default(key: str, model_type: str, layers: Collection[str]) -> str:
    """Return the message for a model whose layer names are unknown."""
    has = f"; the model has {', '.join(sorted(layers))}" if layers else ""
    return f"{key} has no default for this model (got model_type {model_type!r}); name the layers{has}"


def no_layer(key: str, target: str, layers: Collection[str]) -> str:
    """Return the message for a target that matches no linear layer."""
    return (
        f"{key} lists the ends of names of linear layers (got {target!r}){hint(target, layers)}; "
        f"the model has {', '.join(sorted(layers))}"
    )


def tied_head(key: str, target: str, layers: Collection[str]) -> str:
    """Return the message for a target that shares its weights with the embedding."""
    return (
        f"an adapter on a layer that shares its weights with the embedding cannot be merged (got {target!r} in "
        f"{key}): it would change the embedding too; remove it, or train all weights. Other layers: "
        f"{', '.join(sorted(set(layers) - {target, HEAD}))}"
    )


def _shapes(base_model: str, folder: Path | None) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors; of a known model that is not downloaded, shapes with as many sides."""
    if folder is not None:
        return stored_tensors(folder)
    if base_model in KNOWN_MODELS:
        return dict.fromkeys((f"{layer}.weight" for layer in KNOWN_MODELS[base_model].layer_sizes), (1, 1))
    return {}


def _layers(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the linear layers of a model, its head included."""
    family = family_of(config)
    assert family is not None
    text = {name: shape for name, shape in shapes.items() if not any(part in name for part in _NOT_TEXT)}
    return _matrices(text) - facts_about(family).embeddings()


def _matrices(shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the last parts of the names of all modules with a matrix."""
    names = (name for name, shape in shapes.items() if len(shape) == 2 and name.endswith(".weight"))
    return {name.removesuffix(".weight").rsplit(".", 1)[-1] for name in names}
