"""Verifiable checkpoints: each has a manifest, written last, with the size and hash of every file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import StageError, SummtuneError
from summtune.base.files import read_json, sync, write_json
from summtune.base.whole_number import whole_number
from summtune.runs import manifest
from summtune.runs.manifest import ListedFile

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that cannot be used, and why."""

    path: Path
    reason: str


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step after which the checkpoint was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def path_of(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step."""
    return folder / f"checkpoint-{step}"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, the latest first."""
    numbered = [path for path in folder.glob("checkpoint-*") if whole_number(path.name.rsplit("-", 1)[1]) is not None]
    return sorted(filter(Path.is_dir, numbered), key=step_of, reverse=True)


def write_manifest(checkpoint: Path, layout: dict[str, Any]) -> None:
    """Mark the checkpoint as complete: flush it to the disk, then record the size and SHA-256 of every file.

    Args:
        checkpoint: the folder; every rank has finished writing it.
        layout: what a resumed run must match (processes, ZeRO stage).
    """
    found = list(_files(checkpoint))
    for path in (*found, *(path for path in checkpoint.rglob("*") if path.is_dir()), checkpoint, checkpoint.parent):
        sync(path)
    files = {name: file.to_json() for name, file in manifest.listed(checkpoint, found).items()}
    write_json(checkpoint / MANIFEST, {"step": step_of(checkpoint), "layout": layout, "files": files})


def layout_of(checkpoint: Path) -> dict[str, Any]:
    """Return the layout that the checkpoint was written with."""
    layout: dict[str, Any] = read_json(checkpoint / MANIFEST)["layout"]
    return layout


def latest_good(folder: Path) -> tuple[Path | None, list[Damaged]]:
    """Return the latest complete checkpoint (None if there is none) and the damaged ones that were skipped."""
    damaged: list[Damaged] = []
    for checkpoint in checkpoints(folder):
        reason = damage(checkpoint)
        if reason is None:
            return checkpoint, damaged
        damaged.append(Damaged(checkpoint, reason))
    return None, damaged


def damage(checkpoint: Path, contents: bool = True) -> str | None:
    """Return what is wrong with a checkpoint, None if it is intact; without ``contents`` only sizes are compared."""
    try:
        files = read_json(checkpoint / MANIFEST)["files"]
        expected = {name: ListedFile.model_validate(entry) for name, entry in files.items()}
    except FileNotFoundError:
        return "it is incomplete: it has no manifest"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    return manifest.damage(checkpoint, expected, contents)


@contextlib.contextmanager
def written(folder: Path, step: int, first: bool) -> Iterator[Path]:
    """Yield the folder to write the checkpoint of ``step`` into; if writing fails, the folder is removed.

    Args:
        folder: where the checkpoints are.
        step: the optimizer step that has just finished.
        first: whether this is the first rank, which does the removing.

    Raises:
        StageError: it could not be written, most often for lack of space; earlier checkpoints are unchanged.
    """
    path = path_of(folder, step)
    if first:  # an incomplete one, or one that was skipped because it is damaged
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
            f"{path.name} could not be written (got {type(error).__name__}: {cause}); earlier checkpoints are intact: "
            "free space on the disk, and run the same command again"
        ) from error


def rotate(folder: Path, step: int, keep: int, best: int | None) -> None:
    """Delete all but the latest ``keep`` complete checkpoints and the best one.

    The checkpoint of ``step`` has just been written, and is good. Later ones are from an earlier attempt, and were
    skipped when this one started: they are always deleted, even if they look complete. So are incomplete ones.

    Args:
        folder: where the checkpoints are.
        step: of the checkpoint that has just been written.
        keep: at least 1.
        best: step of the best checkpoint, None if there is none to keep.
    """
    usable = [path for path in checkpoints(folder) if step_of(path) <= step and damage(path, contents=False) is None]
    kept = {path.resolve() for path in usable[:keep]} | (
        {path_of(folder, best).resolve()} if best is not None else set()
    )
    for path in checkpoints(folder):
        if path.resolve() not in kept:
            # One that cannot be deleted (another machine has a file open) at least no longer counts as complete.
            with contextlib.suppress(OSError):
                (path / MANIFEST).unlink()
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)
