"""Decides which stages of a run are reused from other runs, and reports it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from summtune.base.files import write_json
from summtune.plan.draft import RunDraft, TrainDraft
from summtune.plan.keys import StageKeys
from summtune.plan.launch import StageName
from summtune.plan.plan import RunPlan, TrainPlan
from summtune.plan.resolve import OUTPUTS
from summtune.runs import manifest
from summtune.runs.reuse import (
    Source,
    UnusableError,
    discard_staged,
    made_elsewhere,
    same_inputs,
    same_outputs,
    sources,
    take_over,
)
from summtune.runs.run_directory import is_complete
from summtune.runs.run_plan import PLAN_FILE, ReusableStage, read_plan_view

_STAGES: tuple[ReusableStage, ...] = ("train", "predict")


class _Display(Protocol):
    """The part of `summtune.commands.pipeline.Display` that is used here."""

    def stage(self, name: str, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


def reuse_stages(plan: RunPlan, todo: Sequence[StageName], run_dir: Path, display: _Display) -> list[StageName]:
    """Take over the outputs of stages that other runs have completed, and return the stages that remain.

    Args:
        plan: of the run, written to ``plan.json``. Names in it what was reused, now or earlier.
        todo: the incomplete stages.
        run_dir: of the run, locked.
        display: reports what is reused and what is damaged.
    """
    discard_staged(run_dir)
    left = list(todo)
    for stage in _STAGES:
        if left and left[0] == stage and not plan.fresh and _is_reused(plan, stage, run_dir, display):
            left.pop(0)
    reused = made_elsewhere(run_dir, _STAGES)
    if reused:
        write_json(run_dir / PLAN_FILE, plan.model_copy(update={"reused": reused}).to_json())
    return left


def _is_reused(plan: RunPlan, stage: ReusableStage, run_dir: Path, display: _Display) -> bool:
    own = read_plan_view(run_dir / PLAN_FILE)
    for source in _sources(plan.keys, stage, run_dir):
        if stage == "predict" and isinstance(plan, TrainPlan) and not same_outputs(run_dir, source.folder, "train"):
            continue  # it trained the same model once more, and at most the last bits are the same
        if not same_inputs(own, source.plan, stage):
            display.stage(
                stage, f"not reused from {shown(source)}: the model, the data or the date in its prompts is another"
            )
            continue
        try:
            take_over(source, run_dir, stage)
        except UnusableError as error:
            display.warn(f"the {stage} stage of {shown(source)} is damaged (got {error}); it is not reused")
        except OSError as error:
            display.warn(f"the {stage} stage of {shown(source)} cannot be reused (got {error.strerror or error})")
        else:
            display.stage(stage, f"reused from {shown(source)}")
            return True
    return False


def reusable(draft: RunDraft) -> dict[ReusableStage, Source]:
    """Return the stages that a run will reuse, as far as can be told before its data is read, and from where."""
    found: dict[ReusableStage, Source] = {}
    if _was_begun_fresh(draft.run_dir):
        return found
    for stage in _STAGES if isinstance(draft, TrainDraft) else _STAGES[1:]:
        if is_complete(draft.run_dir, stage):
            continue
        trained_in = found["train"].folder if "train" in found else draft.run_dir
        source = next(_intact(draft, stage, trained_in), None)
        if source is None:
            break
        found[stage] = source
    return found


def _intact(draft: RunDraft, stage: ReusableStage, trained_in: Path) -> Iterator[Source]:
    for source in _sources(draft.keys, stage, draft.run_dir):
        if manifest.damage(source.folder, source.mark.outputs, contents=False) is None and (
            stage == "train" or same_outputs(trained_in, source.folder, "train")
        ):
            yield source


def _sources(keys: StageKeys, stage: ReusableStage, run_dir: Path) -> list[Source]:
    return sources(run_dir, stage, keys.model_dump(), also=[Path(OUTPUTS)])


def _was_begun_fresh(run_dir: Path) -> bool:
    try:
        return read_plan_view(run_dir / PLAN_FILE).fresh
    except (OSError, ValueError):
        return False


def shown(source: Source) -> str:
    """Return the directory of a run as the user would name it: from the current folder, if it is below it."""
    here = Path.cwd()
    return str(source.folder.relative_to(here) if source.folder.is_relative_to(here) else source.folder)
