"""Checkpoints that can be trusted: each has a manifest, written last, that says what a whole one holds."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import StageError, SummtuneError
from summtune.base.files import read_json, sync, write_json
from summtune.base.whole_number import whole_number

MANIFEST = "manifest.json"
_THREADS = 8  # that read at once: the files of a large model are many, and the other ranks wait


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that cannot be used, and why."""

    path: Path
    reason: str


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step after which the checkpoint was taken."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, the latest first."""
    numbered = [path for path in folder.glob("checkpoint-*") if whole_number(path.name.rsplit("-", 1)[1]) is not None]
    return sorted(filter(Path.is_dir, numbered), key=step_of, reverse=True)


def write_manifest(checkpoint: Path, layout: dict[str, Any]) -> None:
    """Declare the checkpoint complete: size and SHA-256 of every file in it, all of it on the disk before.

    Args:
        checkpoint: the folder; every rank has finished writing it.
        layout: what a resume must match (processes, ZeRO stage).
    """
    found = list(_files(checkpoint))
    for path in (*found, *(path for path in checkpoint.rglob("*") if path.is_dir()), checkpoint, checkpoint.parent):
        sync(path)
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(_sha256, found))
    files = {
        file.relative_to(checkpoint).as_posix(): {"bytes": file.stat().st_size, "sha256": digest}
        for file, digest in zip(found, digests, strict=True)
    }
    write_json(checkpoint / MANIFEST, {"step": step_of(checkpoint), "layout": layout, "files": files})


def layout_of(checkpoint: Path) -> dict[str, Any]:
    """Return the layout that the checkpoint was written on."""
    layout: dict[str, Any] = read_json(checkpoint / MANIFEST)["layout"]
    return layout


def latest_good(folder: Path) -> tuple[Path | None, list[Damaged]]:
    """Return the latest complete checkpoint (None when there is none) and those that had to be passed over."""
    damaged: list[Damaged] = []
    for checkpoint in checkpoints(folder):
        reason = damage(checkpoint)
        if reason is None:
            return checkpoint, damaged
        damaged.append(Damaged(checkpoint, reason))
    return None, damaged


def damage(checkpoint: Path, contents: bool = True) -> str | None:
    """Return what is wrong with a checkpoint, None when it is whole; without ``contents`` only sizes are compared."""
    try:
        manifest = read_json(checkpoint / MANIFEST)
        expected: dict[str, dict[str, Any]] = manifest["files"]
        sizes = {name: int(entry["bytes"]) for name, entry in expected.items()}
    except FileNotFoundError:
        return "it was not written to the end"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    for name, size in sizes.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes instead of {size:,}"
    if not contents:
        return None

    def altered(name: str) -> str | None:
        try:
            return None if _sha256(checkpoint / name) == expected[name].get("sha256") else f"{name} was altered"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"

    with ThreadPoolExecutor(_THREADS) as pool:
        return next(filter(None, pool.map(altered, expected)), None)


@contextlib.contextmanager
def written(folder: Path, step: int, first: bool) -> Iterator[Path]:
    """Yield where the checkpoint of ``step`` is to be written; what fails there is taken away again, and said.

    Args:
        folder: where the checkpoints are.
        step: the optimizer step that is over.
        first: whether this is the first rank, which takes away.

    Raises:
        StageError: it could not be written, most often for lack of space; those before it are as they were.
    """
    path = folder / f"checkpoint-{step}"
    if first:  # one that was cut short, or that was passed over because it is damaged
        shutil.rmtree(path, ignore_errors=True)
    try:
        yield path
    except SummtuneError:
        raise
    except Exception as error:
        if first:
            shutil.rmtree(path, ignore_errors=True)
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StageError(
            f"{path.name} could not be written (got {type(error).__name__}: {cause}); the checkpoints before it are "
            "whole: free space on the disk, and give the same command again"
        ) from error


def rotate(folder: Path, step: int, keep: int, best: str | None) -> None:
    """Delete all but the latest ``keep`` complete checkpoints and the best one.

    The checkpoint of ``step`` has just been written, and is good. Later ones are of an earlier try, and were passed
    over when this one began: they never count, whatever they look like. Nor does one that was cut short.

    Args:
        folder: where the checkpoints are.
        step: of the checkpoint that has just been written.
        keep: at least 1.
        best: path of the best checkpoint, None when none is kept for that.
    """
    usable = [path for path in checkpoints(folder) if step_of(path) <= step and damage(path, contents=False) is None]
    kept = {path.resolve() for path in usable[:keep]} | ({Path(best).resolve()} if best is not None else set())
    for path in checkpoints(folder):
        if path.resolve() not in kept:
            # What cannot be deleted (a file that another machine has open) is at least not whole any more, and costs
            # nothing but its space.
            with contextlib.suppress(OSError):
                (path / MANIFEST).unlink()
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
