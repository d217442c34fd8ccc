"""Where the package, its bundled files and local models are."""

from __future__ import annotations

from pathlib import Path

BUILTIN_MODELS = ("builtin/flan-t5-nano",)
BUILTIN_DATASETS = ("builtin/dialogues",)


def package_path(relative: str) -> Path:
    """Return the package's own copy of ``recipes/…``, ``ds_configs/…`` or ``assets/…``.

    An installed package carries them inside; in a checkout recipes and ds_configs stand beside the package.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / relative
    return inside if inside.exists() else package.parent / relative


def is_local(path: str) -> bool:
    """Whether a resolved path is a file or folder of this machine (not builtin, not on the hub)."""
    return Path(path).is_absolute()


def model_folder(base_model: str) -> Path | None:
    """Return the folder of a builtin or local model; None for one on the hub."""
    if base_model in BUILTIN_MODELS:
        return package_path("assets/" + base_model.removeprefix("builtin/"))
    return Path(base_model) if is_local(base_model) else None
