"""Reads the shapes of the tensors in safetensors files from their headers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from summtune.base.errors import ModelError
from summtune.base.files import check_regular

_HEADER_BYTES = 100_000_000
"""The largest header that the safetensors library reads."""


def stored_tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in the folder's safetensors files, read from their headers.

    Raises:
        InputError: one of them is not a regular file.
        ModelError: one of them is not a safetensors file (such as a Git LFS pointer), or is truncated.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        check_regular(path)
        with path.open("rb") as file:
            # In any other file this length would be absurd, and reading that much would exhaust the memory.
            content = file.read(min(int.from_bytes(file.read(8), "little"), _HEADER_BYTES))
        try:
            header: dict[str, Any] = json.loads(content)
            shapes |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            raise ModelError(
                f"not a safetensors file (got {path}); if it is a Git LFS pointer, run `git lfs pull`, otherwise copy "
                "the model again"
            ) from None
    return shapes
