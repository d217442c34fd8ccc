"""Takes a resolved recipe through its stages: what is complete stays, what is missing is done."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from summtune.base.errors import ModelError, StageError, os_error_text
from summtune.base.files import read_json, write_bytes, write_json, write_text
from summtune.base.places import BUILTIN_DATASETS, is_local
from summtune.data.hub_access import fetch_model
from summtune.deepspeed.configs import DS_CONFIG
from summtune.launchers import slurm
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import Listener, run_processes
from summtune.launchers.machines import OtherMachines
from summtune.machine.model_limits import facts_of, misfits
from summtune.plan.beginning import Model
from summtune.plan.draft import RunDraft, TrainDraft, begin, complete, model_of
from summtune.plan.keys import identify
from summtune.plan.launch import Launch, StageName, global_batch, stage_groups
from summtune.plan.plan import RunPlan, TrainPlan, beginning_of, read_plan, read_run_plan
from summtune.plan.preparation import prepare_data
from summtune.recipe.keys import RunRecipe
from summtune.runs import checkpoints
from summtune.runs.run_directory import (
    PARTIAL_PREDICTIONS,
    adopt,
    as_written,
    check_free,
    clear,
    forget,
    is_complete,
    leaving_nothing,
    locked,
    mark_complete,
    preparing,
    read_predictions,
)


class Display(Protocol):
    """Whoever tells the user what goes on."""

    @property
    def listener(self) -> Listener:
        """What takes the events of worker processes."""

    def stage(self, name: str, text: str, *, shows_itself: bool = False) -> None:
        """A stage begins, or is already complete; ``shows_itself``: it writes to the terminal itself."""

    def systems(self, done: int, total: int) -> None:
        """So many systems of a comparison are done."""

    def warn(self, text: str) -> None:
        """Something that a person should act on."""


def run(
    draft: RunDraft,
    display: Display,
    fresh: bool = False,
    detach: bool = False,
    others: OtherMachines | None = None,
) -> Path | None:
    """Run every stage of a prompt or train recipe that is not complete.

    Args:
        draft: of the recipe's plan.
        display: told what goes on.
        fresh: delete what an earlier run of this very recipe left, and begin anew.
        detach: do not wait for a Slurm job.
        others: the other machines of a launch on several, without a scheduler.

    Returns:
        The run directory; None when a Slurm job has yet to do its part.

    Raises:
        InputError: the data, the model or the run directory cannot be used; nothing was started.
        StageError: a stage failed; the same call goes on from there.
    """
    run_dir = draft.run_dir
    known = check_free(run_dir, draft.identity)
    launcher = draft.recipe.launcher
    launched = [name for group in draft.stages if group.launch is not None for name in group.names]
    with leaving_nothing(run_dir), locked(run_dir):
        # Before anything is written: a job may be at work here.
        if known and not slurm.take_up(
            run_dir, launched, display.listener, launcher=launcher, fresh=fresh, detach=detach
        ):
            return None
        if known and fresh:
            clear(run_dir)
            known = False
        plan = _resumed(draft) if known else _begun(draft, display)
        _write_launch_files(plan, run_dir)
        todo = _what_is_missing(plan, run_dir, display)
        if launcher == "slurm" and set(todo) & set(launched):
            if not _run_as_job(plan, run_dir, display, detach):
                return None
            todo = [stage for stage in todo if stage not in launched]
        _run_stages(plan, todo, run_dir, display, others)
    return run_dir


def _resumed(draft: RunDraft) -> RunPlan:
    """Return the plan of a run that has begun, for the layout of this draft, and write it."""
    plan = complete(draft, beginning_of(read_run_plan(draft.run_dir)))
    write_bytes(draft.run_dir / "recipe.yaml", draft.loaded.document.text)
    write_json(draft.run_dir / "plan.json", plan.to_json())
    return plan


def _begun(draft: RunDraft, display: Display) -> RunPlan:
    """Fetch the model, read and check the data, and put a complete beginning into the run directory."""
    _warn_of_another_batch(draft, display)
    with preparing(draft.run_dir) as prepared:
        display.stage("data", "reading and checking", shows_itself=_on_the_hub(draft.recipe))
        data = prepare_data(draft.recipe, prepared, display.warn)
        plan = begin(draft, _model(draft, display), data)
        write_bytes(prepared / "recipe.yaml", draft.loaded.document.text)
        write_json(prepared / "plan.json", plan.to_json())
        adopt(prepared, draft.run_dir)
    return plan


def _model(draft: RunDraft, display: Display) -> Model:
    """Return the model of a run, fetched where it is on the hub.

    Raises:
        ModelError: it cannot be fetched, or cannot do what the recipe asks of it.
    """
    recipe = draft.recipe
    folder, revision = draft.model_folder, recipe.revision_of_model
    if folder is None:
        display.stage("model", f"fetching {recipe.base_model}", shows_itself=True)
        fetched = fetch_model(recipe.base_model, revision)
        folder, revision = fetched.path, fetched.revision
        if wrong := misfits(facts_of(folder), recipe):
            raise ModelError("\n".join(message for _, message in wrong))
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"the model has no safetensors (got {folder}); pickled weights are not loaded: convert it with "
            "`save_pretrained` of transformers"
        )
    return model_of(draft, folder, revision)


def _warn_of_another_batch(draft: RunDraft, display: Display) -> None:
    """Say so where an unfinished training of this recipe lies beside, with another global batch.

    On fewer devices than yesterday the same command is another experiment, which begins anew.
    """
    if not isinstance(draft, TrainDraft):
        return
    now = global_batch(draft.recipe, draft.train.processes)
    for other in sorted(draft.run_dir.parent.glob(f"{draft.name}-*")):
        if is_complete(other, "train") or not checkpoints.checkpoints(other / "checkpoints"):
            continue
        with contextlib.suppress(OSError, ValueError):
            begun = read_plan(other)
            if not isinstance(begun, TrainPlan):
                continue
            before = begun.batch.global_batch
            if begun.identity == identify(draft.recipe, before, draft.content_sha256):
                display.warn(
                    f"an unfinished training of this recipe has a global batch of {before} (got {now} now, {other}): "
                    "this one begins anew. To go on with that one, choose micro_batch_size and "
                    f"gradient_accumulation_steps so that times the processes they make {before}"
                )


def _on_the_hub(recipe: RunRecipe) -> bool:
    """Return whether data is fetched, which shows bars of its own."""
    sources = [*(recipe.datasets or ()), *recipe.test_datasets]
    return not all(is_local(source.path) or source.path in BUILTIN_DATASETS for source in sources)


def _write_launch_files(plan: RunPlan, run_dir: Path) -> None:
    """Write what the launcher and DeepSpeed are given, as the plan says."""
    if isinstance(plan, TrainPlan) and plan.deepspeed is not None:
        write_json(run_dir / DS_CONFIG, plan.deepspeed)
    for group in plan.stages:
        if group.launch is not None:
            write_text(run_dir / group.launch.config_file, to_yaml(accelerate_config(group.launch, run_dir)))


def _what_is_missing(plan: RunPlan, run_dir: Path, display: Display) -> list[StageName]:
    """Return the stages that are to be run, and forget what an earlier run of them left."""
    todo = [name for group in plan.stages for name in group.names]
    while todo and is_complete(run_dir, todo[0]):
        display.stage(todo.pop(0), "already complete")
    forget(run_dir, todo)
    if "train" in todo:
        shutil.rmtree(run_dir / PARTIAL_PREDICTIONS, ignore_errors=True)  # another model's
    return todo


def _run_as_job(plan: RunPlan, run_dir: Path, display: Display, detach: bool) -> bool:
    """Have Slurm run the stages of workers; return whether they are done, which with ``detach`` is not waited for."""
    launched = [name for group in plan.stages if group.launch is not None for name in group.names]
    names = [name for name in launched if not is_complete(run_dir, name)]
    display.stage(names[0], f"submitting {run_dir / slurm.SCRIPT}")
    job = slurm.submit(plan, run_dir)
    display.stage("slurm", f"job {job.id}, log: {job.log(run_dir)}")
    if not detach:
        slurm.follow(job, run_dir, names, display.listener)
    return not detach


def _run_stages(
    plan: RunPlan, todo: Sequence[StageName], run_dir: Path, display: Display, others: OtherMachines | None
) -> None:
    train = plan.train if isinstance(plan, TrainPlan) else None
    for group in stage_groups(train, plan.predict, todo):
        try:
            if group.launch is None:
                _run_in_the_command(group.names, plan, run_dir, display)
            else:
                _launch(group.names, group.launch, run_dir, display, others)
        except OSError as error:  # a stage was started: the call is not what is wrong
            raise StageError(f"the {group.names[0]} stage failed: {os_error_text(error)}") from error


def _launch(
    names: Sequence[StageName], launch: Launch, run_dir: Path, display: Display, others: OtherMachines | None
) -> None:
    """Run stages in processes of their own, on this machine or on several."""
    display.stage(names[0], f"starting {launch.processes} process{'es' if launch.processes > 1 else ''}")
    if launch.machines == 1:
        run_processes(launch, run_dir, names, display.listener)
    else:
        assert others is not None, "the command of each machine says which one it is"
        others.run_everywhere(launch, run_dir, names, display.listener)


def _run_in_the_command(names: Sequence[StageName], plan: RunPlan, run_dir: Path, display: Display) -> None:
    """Run stages that need no process of their own."""
    for name in names:
        display.stage(name, "running")
        if name == "evaluate":
            _evaluate(plan, run_dir)
        else:
            assert name == "report", f"no such stage: {name}"
            _report(plan, run_dir)
        mark_complete(run_dir, name)


def _evaluate(plan: RunPlan, run_dir: Path) -> None:
    from summtune.evaluator.evaluation import evaluate, write_evaluation

    predictions = read_predictions(run_dir / "predictions.jsonl")
    training = run_dir / "training.json"
    weights = read_json(training) if training.exists() else None
    leakage: dict[str, dict[str, Any]] = {role: found.model_dump() for role, found in plan.data.leakage.items()}
    write_evaluation(run_dir, evaluate(predictions, plan.recipe.evaluation, leakage=leakage, weights=weights))


def _report(plan: RunPlan, run_dir: Path) -> None:
    from summtune.report import write_run_report
    from summtune.report.model_card import model_card

    with as_written(run_dir):
        if plan.kind == "train":
            write_text(run_dir / "model" / "README.md", model_card(run_dir))
        write_run_report(run_dir)
