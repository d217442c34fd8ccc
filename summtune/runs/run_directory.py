"""The run directory: its owner, its lock, and its complete stages."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from summtune.base.errors import DataError, RunDirectoryError
from summtune.base.files import check_regular, read_json, write_json
from summtune.base.strict import StrictModel, read_model
from summtune.runs import manifest
from summtune.runs.manifest import ListedFile
from summtune.runs.records import Prediction
from summtune.runs.run_plan import MadeBy

SYSTEMS = "systems"
PARTIAL_PREDICTIONS = "predictions.partial"
TOKENS = "tokens"  # only where the user's cache is not used
DATA_FILES = {role: f"data/{role}.jsonl" for role in ("train", "validation", "exemplars", "test")}
GENERATION_CONFIG = "model/generation_config.json"

_OUTPUTS: dict[str, tuple[str, ...]] = {
    "train": ("model", "train_log.jsonl", "training.json", "supervision.json"),
    "predict": ("predictions.jsonl", "prediction_stats.json", GENERATION_CONFIG),
    "evaluate": ("metrics.json", "per_example.jsonl"),
    "report": ("report.html", "report.md", "cost.json"),
}
_OF_LATER_STAGES = ("model/README.md", GENERATION_CONFIG)
"""Files of ``model/`` that depend on more than the training: the model card, and the settings that are scored."""
_LOCK = ".lock"
_PREPARING = ".preparing"


class StageMark(StrictModel):
    """What ``stages/<stage>.json`` holds once the stage is complete.

    Args:
        stage: its name.
        finished_at: when it was finished, in UTC.
        outputs: every file that it left, by its path in the run directory.
        key: what the outputs present, of a stage that runs again when this changes; else None.
        made_by: the run that made the outputs; None if this one did.
    """

    stage: str
    finished_at: str
    outputs: dict[str, ListedFile]
    key: str | None = None
    made_by: MadeBy | None = None


def identity_in(run_dir: Path) -> str | None:
    """Return the identity of the run in a directory; None if the directory is missing or empty.

    Raises:
        RunDirectoryError: it contains something that is not a run, or is a file.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise RunDirectoryError(f"a run directory is a folder (got the file {run_dir}); choose another --output-dir")
    if not run_dir.exists() or not any(entry.name not in (_LOCK, _PREPARING) for entry in run_dir.iterdir()):
        return None
    try:
        identity = read_json(run_dir / "plan.json")["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        identity = None
    if not isinstance(identity, str):
        raise RunDirectoryError(
            f"the directory contains something that is not a summtune run (got {run_dir}); choose another --output-dir"
        )
    return identity


def check_free(run_dir: Path, identity: str) -> bool:
    """Return whether the directory already contains this run; False if it is missing or empty.

    Raises:
        RunDirectoryError: it contains another run, or something else.
    """
    found = identity_in(run_dir)
    if found is not None and found != identity:
        name = read_json(run_dir / "plan.json").get("name")
        raise RunDirectoryError(
            f"the directory contains another run (got {run_dir}: {name}-{found[:8]}, this one is {identity[:8]}); "
            "choose another --output-dir, or delete it if it is not needed"
        )
    return found is not None


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Lock the directory against other summtune commands; the system releases the lock if this process is killed.

    Raises:
        RunDirectoryError: another command is using it.
    """
    from filelock import FileLock, Timeout

    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunDirectoryError(
            f"another summtune command is using this directory (got {run_dir}); wait for it, or stop it first"
        ) from None
    try:
        yield
    finally:
        lock.release()


def remove_if_unused(folder: Path) -> None:
    """Delete a folder that holds nothing, or nothing but the lock of a command that has ended."""
    with contextlib.suppress(OSError):
        if [entry.name for entry in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
        folder.rmdir()


@contextlib.contextmanager
def leaving_nothing(run_dir: Path) -> Iterator[None]:
    """If the body fails before there is a ``plan.json``, delete the directory and the parents created for it."""
    made = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
    try:
        yield
    except RunDirectoryError:
        raise  # another command is using it
    except BaseException:
        if made and not (run_dir / "plan.json").exists():
            shutil.rmtree(run_dir, ignore_errors=True)
            for parent in made[1:]:
                with contextlib.suppress(OSError):  # another run may have moved in
                    parent.rmdir()
        raise


@contextlib.contextmanager
def preparing(run_dir: Path) -> Iterator[Path]:
    """Yield an empty folder on the disk of the (locked) run directory, and delete it afterwards."""
    folder = run_dir / _PREPARING
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def adopt(prepared: Path, run_dir: Path) -> None:
    """Move the content of a fully prepared folder into the (empty, locked) run directory, ``plan.json`` last.

    A directory without ``plan.json`` does not count as a run, so a kill in between leaves nothing that looks like one.
    """
    entries = sorted(prepared.iterdir(), key=lambda entry: entry.name == "plan.json")
    for entry in entries:
        target = run_dir / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        shutil.move(entry, target)


def clear(run_dir: Path) -> None:
    """Delete everything a run left in its directory (``--fresh``), ``plan.json`` first.

    The systems of a comparison are separate runs, each with its own lock, and stay.
    """
    (run_dir / "plan.json").unlink(missing_ok=True)
    for entry in run_dir.iterdir():
        if entry.name in (_LOCK, SYSTEMS):
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def mark_complete(run_dir: Path, stage: str, key: str | None = None) -> None:
    """Record that the outputs of a stage are complete, with the size and hash of each file.

    Args:
        run_dir: of the run.
        stage: its name.
        key: of a stage that is to run again when this changes.
    """
    outputs = manifest.listed(run_dir, _output_files(run_dir, stage))
    write_mark(run_dir, StageMark(stage=stage, finished_at=timestamp(), outputs=outputs, key=key))


def write_mark(run_dir: Path, mark: StageMark) -> None:
    """Mark a stage as complete; its outputs are in place."""
    write_json(_marker(run_dir, mark.stage), mark.to_json())


def read_mark(run_dir: Path, stage: str) -> StageMark | None:
    """Return the mark of a complete stage; None if it has none, or one that was damaged."""
    try:
        mark = read_model(StageMark, _marker(run_dir, stage))
    except (OSError, ValueError):
        return None
    return mark if mark.outputs and mark.stage == stage else None


def is_complete(run_dir: Path, stage: str, key: str | None = None) -> bool:
    """Return whether a stage was marked complete and every file it wrote still exists with the same size.

    Args:
        run_dir: of the run.
        stage: its name.
        key: that the stage was marked with; None: any.
    """
    mark = read_mark(run_dir, stage)
    if mark is None or (key is not None and mark.key != key):
        return False
    return manifest.damage(run_dir, mark.outputs, contents=False) is None


def is_output(stage: str, name: str) -> bool:
    """Return whether a stage may leave a file of this name; False if the name leads out of the run directory."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and (name in _OUTPUTS[stage] or parts[0] in _OUTPUTS[stage])


def read_predictions(path: Path) -> list[Prediction]:
    """Return the predictions of a ``predictions.jsonl``.

    Raises:
        InputError: ``path`` is not a regular file.
        DataError: a line is not what the predict stage writes.
        OSError: the file cannot be read.
    """
    predictions = []
    check_regular(path)
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            predictions.append(Prediction.from_json(json.loads(line)))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON (got {error}); write the file again") from None
    return predictions


def forget(run_dir: Path, stages: Sequence[str]) -> None:
    """Remove the completion marks of stages that are about to run, and of those that depend on them."""
    for stage in stages:
        _marker(run_dir, stage).unlink(missing_ok=True)


def timestamp() -> str:
    """Return the time in UTC, as ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _marker(run_dir: Path, stage: str) -> Path:
    return run_dir / "stages" / f"{stage}.json"


def _output_files(run_dir: Path, stage: str) -> Iterator[Path]:
    for name in _OUTPUTS[stage]:
        path = run_dir / name
        if path.is_dir():
            later = [run_dir / each for each in _OF_LATER_STAGES]
            yield from (file for file in sorted(path.rglob("*")) if file.is_file() and file not in later)
        elif path.exists():
            yield path
