"""Recognizes the folder of an adapter, which is no model by itself."""

from __future__ import annotations

import json
from pathlib import Path

from summtune.base.files import CONFIG_BYTES, is_file, read_bounded

_FILE = "adapter_config.json"


def not_a_model(folder: Path) -> str | None:
    """Return the message for the folder of an adapter that is given as a model; None for another folder.

    transformers would load the model that the adapter names in place of what is in the folder.
    """
    if not is_file(folder / _FILE):
        return None
    base = _base_of(folder)
    named = "the model that it was trained on" if base is None else base
    return (
        f"a folder with {_FILE} is an adapter, not a model (got {folder}, an adapter of {named}); set base_model to "
        f"{named}, or merge the adapter with peft's `merge_and_unload` and save the result"
    )


def _base_of(folder: Path) -> str | None:
    try:
        config = json.loads(read_bounded(folder / _FILE, CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return base if isinstance(base, str) and base else None
