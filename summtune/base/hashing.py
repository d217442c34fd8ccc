"""SHA-256 of files, folders and JSON values."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHUNK = 1 << 22


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files below a folder.

    Hidden files and ``__pycache__`` folders are ignored.
    """
    stats = [(file, file.stat()) for file in _files(path)]
    return _content_sha256(path, tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


@functools.lru_cache(maxsize=64)
def _content_sha256(path: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash the files; cached, because the systems of a comparison share their model and data."""
    digest = hashlib.sha256()
    for file, size, _ in files:
        if path.is_dir():
            digest.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(path).parts)
    )


def hash_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
