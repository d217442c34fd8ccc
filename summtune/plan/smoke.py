"""Derives from a recipe the short run of it that takes its whole way: `summtune run --smoke`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import assert_never

from summtune.base.files import read_jsonl, write_jsonl
from summtune.plan.checking import CheckedRun
from summtune.plan.draft import CompareDraft, Draft, EndpointDraft, RunDraft, ScoredDraft, TrainDraft
from summtune.plan.longest import LongestPairs, longest_pairs
from summtune.plan.outputs import CheckedOutputs
from summtune.plan.plan import RunPlan, TrainPlan
from summtune.recipe.keys import EndpointRecipe, PromptRecipe, RunRecipe, TrainRecipe
from summtune.recipe.launching_rules import seconds_of
from summtune.recipe.sections import ComparedPredictions, DatasetSource, Slurm
from summtune.runs.records import Dialogue, Prediction
from summtune.runs.run_directory import DATA_FILES

SMOKE = "smoke"
"""The folder of the directories of smoke runs, next to the run directories."""
STEPS = 2
PAUSE_AFTER = 1
_SLURM_SECONDS = 30 * 60
_ASKED = 5
"""Test dialogues of a model behind an API, where each costs money."""


def smoke_folder(draft: Draft) -> Path:
    """Return the directory of a recipe's smoke run: below ``smoke`` next to the recipe's own run directory."""
    return draft.run_dir.parent / SMOKE / draft.run_dir.name


def dialogues_to_summarize(drafts: Sequence[RunDraft]) -> int:
    """Return how many test dialogues a smoke run summarizes: a batch for each process, as in the whole run.

    The systems of a comparison summarize the same dialogues, so the largest of their batches counts. With a model
    behind an API among them, there are few.
    """
    if any(isinstance(draft, EndpointDraft) for draft in drafts):
        return _ASKED
    return max(draft.recipe.generation.batch_size * draft.predict.processes for draft in drafts if draft.predict)


def short_data(plan: RunPlan, whole: Path, into: Path, dialogues: int) -> LongestPairs | None:
    """Write the data of a smoke run below ``into``; return the training pairs, None for a prompted model.

    It is the longest training pairs, as many as its steps need; a batch of validation dialogues for each process; the
    first test dialogues; and all exemplars, so that the prompts are those of the whole run.

    Args:
        plan: of the whole run.
        whole: the folder below which its data was prepared.
        into: likewise for the smoke run.
        dialogues: number of test dialogues.
    """

    def read(role: str) -> list[Dialogue]:
        return [Dialogue.from_json(row) for row in read_jsonl(whole / DATA_FILES[role])]

    def write(role: str, chosen: Sequence[Dialogue]) -> None:
        write_jsonl(into / DATA_FILES[role], (each.to_json() for each in chosen))

    write("test", read("test")[:dialogues])
    if not isinstance(plan, TrainPlan):
        if plan.data.exemplars is not None:
            write("exemplars", read("exemplars"))
        return None
    recipe = plan.recipe
    longest = longest_pairs(read("train"), STEPS * plan.batch.global_batch, recipe, Path(plan.model.folder))
    write("train", longest.dialogues)
    if plan.data.validation is not None:
        write("validation", read("validation")[: recipe.micro_batch_size * plan.train.processes])
    return longest


def smoked(checked: CheckedRun, data: Path) -> CheckedRun:
    """Return the recipe of a smoke run: the same but for its data, its steps, and where it reports to.

    Args:
        checked: the recipe of the whole run.
        data: the folder below which `short_data` has written.
    """
    return replace(checked, recipe=_short(checked.recipe, data))


def smoked_outputs(
    outputs: CheckedOutputs, predictions: Sequence[Prediction], like: RunRecipe, into: Path
) -> CheckedOutputs:
    """Return the outputs that a smoke run scores: those for its test dialogues, written below ``into``.

    Args:
        outputs: of the whole run.
        predictions: those for the dialogues of the smoke run.
        like: the recipe of the smoke run whose test data they are scored with.
        into: an own folder.
    """
    file = into / f"{Path(outputs.entry.predictions).stem}.jsonl"
    write_jsonl(file, (each.to_json() for each in predictions))
    return CheckedOutputs(outputs.name, ComparedPredictions(predictions=str(file), name=outputs.name), like)


def paused(draft: Draft, models: Sequence[Path | None]) -> Draft:
    """Return the draft of a smoke run, whose trainings pause and resume, and none of which reuses another's stages.

    Args:
        draft: of the smoke run.
        models: for each of its runs, the folder of the model, which is downloaded; None behind an API.
    """
    if isinstance(draft, CompareDraft):
        folders = iter(models)
        parts = (
            (name, part if isinstance(part, ScoredDraft) else _paused(part, next(folders)))
            for name, part in draft.parts
        )
        return replace(draft, parts=tuple(parts))
    (model,) = models
    return _paused(draft, model)


def _paused(draft: RunDraft, model: Path | None) -> RunDraft:
    if isinstance(draft, EndpointDraft):
        return replace(draft, reuses=False)
    if isinstance(draft, TrainDraft):
        return replace(draft, model_folder=model, reuses=False, pause_after=PAUSE_AFTER)
    return replace(draft, model_folder=model, reuses=False)


def _short(recipe: RunRecipe, data: Path) -> RunRecipe:
    shared: dict[str, Any] = {"output_dir": None, "test_datasets": _source(data, "test")}
    if not isinstance(recipe, EndpointRecipe):
        shared["slurm"] = None if recipe.slurm is None else _in_minutes(recipe.slurm)
    match recipe:
        case PromptRecipe() | EndpointRecipe():
            pool = None if recipe.datasets is None else _source(data, "exemplars")
            chosen = recipe.exemplars.model_copy(update={"split": None})
            return recipe.model_copy(update=shared | {"datasets": pool, "exemplars": chosen})
        case TrainRecipe():
            validation = _source(data, "validation") if recipe.validates else None
            return recipe.model_copy(
                update=shared
                | {
                    "datasets": _source(data, "train"),
                    "val_datasets": validation,
                    "val_set_size": 0,
                    "max_steps": STEPS,
                    # A warm-up would leave the weights as they are in the first step, which may be the better one.
                    "warmup_ratio": 0.0,
                    "warmup_steps": 0,
                    "logging_steps": 1,
                    "save_steps": 1,
                    "eval_steps": 1 if validation else None,
                    # A tracker's server is for results, and two steps are none.
                    "wandb_mode": "offline" if recipe.wandb_project else None,
                    "mlflow_tracking_uri": str(data / "mlflow") if recipe.mlflow_tracking_uri else None,
                }
            )
    assert_never(recipe)


def _source(data: Path, role: str) -> list[DatasetSource]:
    return [DatasetSource(path=str(data / DATA_FILES[role]), summary_field="references", id_field="id")]


def _in_minutes(slurm: Slurm) -> Slurm:
    """Return the section with a time limit of minutes, with which a job waits less, unless it is shorter already."""
    limit = _SLURM_SECONDS + slurm.stop_seconds
    given = None if slurm.time is None else seconds_of(slurm.time)
    if slurm.time is None or (given is not None and given <= limit):
        return slurm
    return slurm.model_copy(update={"time": str(-(-limit // 60))})
