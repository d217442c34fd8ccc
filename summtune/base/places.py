"""Locates the package, its bundled files and local models."""

from __future__ import annotations

from pathlib import Path

BUILTIN_MODELS = ("builtin/flan-t5-nano",)
BUILTIN_DATASETS = ("builtin/dialogues",)


def package_path(relative: str) -> Path:
    """Return the package's own copy of ``recipes/…``, ``ds_configs/…``, ``assets/…`` or ``data/…``.

    An installed package contains them; in a checkout, recipes and ds_configs are next to the package.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / relative
    return inside if inside.exists() else package.parent / relative


def is_local(path: str) -> bool:
    """Return whether a resolved path is a file or folder on this machine (not builtin, not on the hub)."""
    return Path(path).is_absolute()


def model_folder(base_model: str) -> Path | None:
    """Return the folder of a builtin or local model; None for a hub model."""
    if base_model in BUILTIN_MODELS:
        return package_path("assets/" + base_model.removeprefix("builtin/"))
    return Path(base_model) if is_local(base_model) else None
