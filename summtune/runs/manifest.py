"""The sizes and hashes of files, by which damage is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from summtune.base.strict import Count, StrictModel

_THREADS = 8  # hash in parallel: a large model has many files, and other ranks wait
_CHUNK = 1 << 22


class ListedFile(StrictModel):
    """The size of a file, and the SHA-256 of its content."""

    bytes: Count
    sha256: str


Manifest: TypeAlias = Mapping[str, ListedFile]
"""Files by their path below a folder, with slashes."""


def listed(folder: Path, files: Iterable[Path]) -> dict[str, ListedFile]:
    """Return the manifest of files below a folder."""
    found = list(files)
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(_sha256, found))
    return {
        file.relative_to(folder).as_posix(): ListedFile(bytes=file.stat().st_size, sha256=digest)
        for file, digest in zip(found, digests, strict=True)
    }


def damage(folder: Path, manifest: Manifest, contents: bool = True) -> str | None:
    """Return what is wrong with the files of a folder, None if they are intact.

    Args:
        folder: of the files.
        manifest: of the files as they were written.
        contents: compare contents too, and not only sizes.
    """
    for name, written in manifest.items():
        try:
            file = folder / name
            size = file.stat().st_size if file.is_file() else None
        except OSError:
            size = None
        if size is None:
            return f"{name} is missing"
        if size != written.bytes:
            return f"{name} has {size:,} bytes instead of {written.bytes:,}"
    if not contents:
        return None

    def altered(name: str) -> str | None:
        try:
            return None if _sha256(folder / name) == manifest[name].sha256 else f"{name} was altered"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"

    with ThreadPoolExecutor(_THREADS) as pool:
        return next(filter(None, pool.map(altered, manifest)), None)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
