"""The identity of a run: a hash of what determines its result, so that the same recipe finds its own run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from summtune.base.hashing import content_sha256, hash_of
from summtune.base.places import BUILTIN_DATASETS, is_local, model_folder
from summtune.recipe.keys import RunRecipe, identity_keys


def identify(recipe: RunRecipe, global_batch: int | None, model_sha256: str | None) -> str:
    """Return 64 hex digits for what determines the result of a prompt or train recipe.

    In it: every key of the kind but those of logging, saving and launching; the contents of local models and data
    instead of their paths; the global batch instead of its factors. The same training on another layout keeps its
    identity.

    Args:
        recipe: paths resolved.
        global_batch: dialogues a step, None for prompts.
        model_sha256: content of a local or builtin model, None for one on the hub.
    """
    resolved = recipe.model_dump(mode="json")
    values: dict[str, Any] = {key: resolved[key] for key in identity_keys(recipe)}
    values["global_batch"] = global_batch
    if model_sha256 is not None:
        values["base_model"] = model_sha256
    for key in ("datasets", "test_datasets"):
        for source in values.get(key) or ():
            source["path"] = _data_identity(source["path"])
    values["generation"].pop("batch_size")  # how many at once, like the micro batch, changes nothing
    metrics = values["evaluation"]["metrics"]
    values["evaluation"]["metrics"] = [content_sha256(Path(name)) if is_local(name) else name for name in metrics]
    for arguments in values["evaluation"]["metric_arguments"].values():
        for key, value in arguments.items():
            if isinstance(value, str) and is_local(value) and Path(value).exists():
                arguments[key] = content_sha256(Path(value))
    return hash_of(values)


def model_identity(recipe: RunRecipe) -> str | None:
    """Return the content hash of a local or builtin model; None for one on the hub."""
    folder = model_folder(recipe.base_model)
    return None if folder is None else content_sha256(folder)


def _data_identity(path: str) -> str:
    if path in BUILTIN_DATASETS:
        generator = Path(__file__).resolve().parents[1] / "data" / "builtin"
        return content_sha256(generator if generator.exists() else generator.with_suffix(".py"))
    return content_sha256(Path(path)) if is_local(path) else path
