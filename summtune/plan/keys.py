"""The identity of a run: a hash of what determines its result, by which a recipe finds its earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from summtune.base.hashing import content_sha256, hash_of
from summtune.base.places import BUILTIN_DATASETS, is_local, model_folder, package_path
from summtune.recipe.adapters import keys_of_adapters
from summtune.recipe.keys import RunRecipe, TrainRecipe, data_keys, identity_keys


def identify(recipe: RunRecipe, global_batch: int | None, model_sha256: str | None) -> str:
    """Return a hash, 64 hex digits, of what determines the result of a prompt or train recipe.

    It covers every key of the kind except those of logging, saving and launching, the contents of local models and data
    instead of their paths, and the global batch instead of its factors. The same training on another layout therefore
    keeps its identity.

    Args:
        recipe: paths resolved.
        global_batch: pairs per optimizer step; None for a prompt recipe.
        model_sha256: over the content of a local or builtin model; None for a hub model.
    """
    resolved = recipe.model_dump(mode="json")
    values: dict[str, Any] = {key: resolved[key] for key in identity_keys(recipe)}
    if isinstance(recipe, TrainRecipe):
        _settle_layers(values)
    values["global_batch"] = global_batch
    if model_sha256 is not None:
        values["base_model"] = model_sha256
    for key, _ in data_keys(recipe):
        for source in values[key]:
            source["path"] = _data_identity(source["path"])
    if values.get("val_datasets") is None:
        values.pop("val_datasets", None)  # runs that are older than the key keep their identity
    values["generation"].pop("batch_size")  # like the micro batch, it does not change the result
    metrics = values["evaluation"]["metrics"]
    values["evaluation"]["metrics"] = [content_sha256(Path(name)) if is_local(name) else name for name in metrics]
    for arguments in values["evaluation"]["metric_arguments"].values():
        for key, value in arguments.items():
            if isinstance(value, str) and is_local(value) and Path(value).exists():
                arguments[key] = content_sha256(Path(value))
    return hash_of(values)


def _settle_layers(values: dict[str, Any]) -> None:
    """Remove adapter keys without a value, so that a new key does not change the identity of older runs.

    The default of LoRA's layers was once q and v: older runs, and those without an adapter, keep their identity.
    """
    for _, key, _ in keys_of_adapters():
        if values[key] is None:
            del values[key]
    values.setdefault("lora_target_modules", ["q", "v"])


def model_identity(recipe: RunRecipe) -> str | None:
    """Return the hash of the content of a local or builtin model; None for a hub model."""
    folder = model_folder(recipe.base_model)
    return None if folder is None else content_sha256(folder)


def _data_identity(path: str) -> str:
    if path in BUILTIN_DATASETS:
        return content_sha256(package_path("data/builtin"))
    return content_sha256(Path(path)) if is_local(path) else path
