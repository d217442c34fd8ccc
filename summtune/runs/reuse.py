"""Takes over the outputs of stages that another run has completed."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.files import followed, sync
from summtune.runs import manifest
from summtune.runs.run_directory import PARTIAL_PREDICTIONS, SYSTEMS, StageMark, is_output, read_mark, write_mark
from summtune.runs.run_plan import PLAN_FILE, MadeBy, PlanView, ReusableStage, read_plan_view

_STAGED = ".reused"
_REPLACED: Mapping[ReusableStage, tuple[str, ...]] = {
    "train": ("model", "checkpoints", PARTIAL_PREDICTIONS),
    "predict": (PARTIAL_PREDICTIONS,),
}
"""What an attempt of this run at a stage may have left."""


@dataclass(frozen=True)
class Source:
    """A run with a complete stage, whose outputs another run may reuse.

    Args:
        folder: its run directory.
        plan: of the run.
        mark: of the stage.
    """

    folder: Path
    plan: PlanView
    mark: StageMark

    @property
    def made_by(self) -> MadeBy:
        """The run that made the outputs: this one, unless it reused them itself."""
        launch = self.plan.train if self.mark.stage == "train" else self.plan.predict
        own = MadeBy(
            run_dir=str(self.folder),
            created_at=self.plan.created_at,
            device="cpu" if launch is None else launch.device,
            versions=self.plan.versions,
        )
        return self.mark.made_by or own


def sources(run_dir: Path, stage: ReusableStage, keys: Mapping[str, str], also: Sequence[Path] = ()) -> list[Source]:
    """Return the runs that have completed a stage with the same key, best first.

    These are the run directories next to ``run_dir``, and the systems of comparisons there. Those with the most stages
    in common come first, then those that finished last. Only directories of the user who runs this command count,
    since a folder for temporary files may hold those of others.

    Args:
        run_dir: of the run that looks for them.
        stage: its name.
        keys: of all stages of the run.
        also: further folders with run directories, for a system of a comparison.
    """
    found = []
    for folder in _run_directories(run_dir, also):
        mark = read_mark(folder, stage)
        if mark is None:
            continue
        try:
            plan = read_plan_view(folder / PLAN_FILE)
        except (OSError, ValueError):
            continue  # of another version, or damaged
        if plan.keys.get(stage) == keys[stage]:
            found.append(Source(folder, plan, mark))

    def rank(source: Source) -> tuple[int, str, str]:
        shared = sum(source.plan.keys.get(name) == key for name, key in keys.items() if read_mark(source.folder, name))
        return shared, source.mark.finished_at, str(source.folder)

    return sorted(found, key=rank, reverse=True)


def _run_directories(run_dir: Path, also: Sequence[Path]) -> Iterator[Path]:
    """Yield the run directories that may be reused."""
    folders = [run_dir.parent]
    if run_dir.parent.name == SYSTEMS:
        folders += [run_dir.parent.parent.parent, *map(followed, also)]
    seen = {run_dir}
    owner = owner_of(run_dir) if run_dir.exists() else os.geteuid()  # which a shared file system may map to another
    for folder in dict.fromkeys(folders):
        for pattern in (f"*/{PLAN_FILE}", f"*/{SYSTEMS}/*/{PLAN_FILE}"):
            for path in sorted(folder.glob(pattern)):
                found = followed(path.parent)
                if found not in seen and owner_of(found) == owner:
                    seen.add(found)
                    yield found


def owner_of(folder: Path) -> int | None:
    """Return the id of the user to whom a folder belongs; None if the system does not tell."""
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def same_inputs(one: PlanView, other: PlanView, stage: ReusableStage) -> bool:
    """Return whether two runs read the same in a stage: what is on a hub may change under its name.

    That is the model, the data, and the date where a chat template writes it.
    """
    roles = ("train", "validation") if stage == "train" else ("train", "validation", "test", "exemplars")

    def read_by(plan: PlanView) -> list[str | None]:
        found = [getattr(plan.data, role) for role in roles]
        model = [] if plan.model is None else [plan.model.revision, plan.model.content_sha256]
        date = (plan.prompt or {}).get("date")
        return [*model, None if date is None else str(date), *(None if role is None else role.sha256 for role in found)]

    return read_by(one) == read_by(other)


def same_outputs(one: Path, other: Path, stage: ReusableStage) -> bool:
    """Return whether a stage has left the same in two run directories, complete or not."""
    marks = [read_mark(folder, stage) for folder in (one, other)]
    return (marks[0] and marks[0].outputs) == (marks[1] and marks[1].outputs)


class UnusableError(Exception):
    """The outputs of a run cannot be reused, and why."""


def take_over(source: Source, run_dir: Path, stage: ReusableStage) -> None:
    """Put the outputs of a stage into a run directory and mark the stage as complete.

    They are linked, or copied where that fails, into a separate folder, checked against the manifest of the stage that
    wrote them, and moved from there. Neither a kill nor the deletion of the source leaves a part of them that counts.

    Args:
        source: a run that has completed the stage.
        run_dir: of the run that reuses it, locked.
        stage: its name.

    Raises:
        UnusableError: a file is missing or altered.
        OSError: the run directory cannot be written.
    """
    staged = run_dir / _STAGED
    discard_staged(run_dir)
    staged.mkdir()
    try:
        for name in source.mark.outputs:
            _bring(source.folder / name, staged / name, is_output(stage, name))
        damaged = manifest.damage(staged, source.mark.outputs)
        if damaged is not None:
            raise UnusableError(damaged)
        for left in _REPLACED[stage]:
            shutil.rmtree(run_dir / left, ignore_errors=True)
        touched = {run_dir}
        for name in source.mark.outputs:
            target = run_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (staged / name).replace(target)
            touched.add(target.parent)
        for folder in touched:
            sync(folder)
    finally:
        discard_staged(run_dir)
    write_mark(run_dir, StageMark(**dict(source.mark) | {"made_by": source.made_by}))


def _bring(file: Path, to: Path, expected: bool) -> None:
    """Link or copy a file of another run.

    Raises:
        UnusableError: it is missing, or nothing that a stage leaves.
        OSError: it cannot be written.
    """
    try:
        regular = stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        raise UnusableError(f"{file.name} is missing") from None
    if not regular or not expected:
        raise UnusableError(f"{file.name} is not a file of this stage")
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, to)
    except FileNotFoundError:
        raise UnusableError(f"{file.name} is missing") from None
    except OSError:  # another file system, or one without links
        try:
            shutil.copyfile(file, to)
        except FileNotFoundError:
            raise UnusableError(f"{file.name} is missing") from None
        sync(to)


def discard_staged(run_dir: Path) -> None:
    """Delete what a kill in the middle of `take_over` left."""
    shutil.rmtree(run_dir / _STAGED, ignore_errors=True)


def made_elsewhere(run_dir: Path, stages: Sequence[ReusableStage]) -> dict[ReusableStage, MadeBy]:
    """Return the runs that made the outputs of stages, for those that were reused."""
    marks = {stage: read_mark(run_dir, stage) for stage in stages}
    return {stage: mark.made_by for stage, mark in marks.items() if mark is not None and mark.made_by is not None}
