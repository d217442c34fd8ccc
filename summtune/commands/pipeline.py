"""Runs the stages of a resolved recipe that are not complete."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from summtune.base.errors import ModelError, StageError, os_error_text
from summtune.base.files import write_bytes, write_json, write_text
from summtune.base.strict import read_model
from summtune.commands.endpoint import ask
from summtune.commands.reuse import reusable, reuse_stages
from summtune.data.hub_access import fetch_model
from summtune.deepspeed.configs import DS_CONFIG
from summtune.launchers import slurm
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import Listener, run_processes
from summtune.launchers.machines import OtherMachines
from summtune.plan.beginning import Model
from summtune.plan.checking import problems_of_files
from summtune.plan.draft import EndpointDraft, LocalDraft, RunDraft, TrainDraft, begin, complete
from summtune.plan.keys import identity_of
from summtune.plan.launch import Launch, StageName, global_batch, stage_groups
from summtune.plan.models import model_of
from summtune.plan.plan import EndpointPlan, LocalPlan, RunPlan, TrainPlan, beginning_of, read_plan, read_run_plan
from summtune.plan.preparation import on_the_hub, prepare_data
from summtune.runs import checkpoints
from summtune.runs.cost import COST_FILE
from summtune.runs.finished import read_facts
from summtune.runs.run_directory import (
    PARTIAL_PREDICTIONS,
    adopt,
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
from summtune.runs.statistics import TRAINING_FILE, Training


class Display(Protocol):
    """Shows the user the progress of a run."""

    @property
    def listener(self) -> Listener:
        """The function that receives the events of worker processes."""

    def stage(self, name: str, text: str, *, shows_itself: bool = False) -> None:
        """Report that a stage begins, or is already complete; with ``shows_itself``, it writes to the terminal."""

    def systems(self, done: int, total: int) -> None:
        """Report how many systems of a comparison are complete."""

    def warn(self, text: str) -> None:
        """Report something on which the user should act."""


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
        display: shows the progress.
        fresh: delete what an earlier run of the same recipe left, and start from scratch, without anything of others.
        detach: do not wait for a Slurm job.
        others: the other machines of a launch on several machines without a scheduler.

    Returns:
        The run directory; None while a Slurm job has not finished.

    Raises:
        InputError: the data, the model or the run directory cannot be used; nothing was started.
        StageError: a stage failed; the same call resumes there.
    """
    run_dir = draft.run_dir
    known = check_free(run_dir, draft.identity)
    launcher = draft.recipe.launcher
    launched = [name for group in draft.stages if group.launch is not None for name in group.names]
    with leaving_nothing(run_dir), locked(run_dir):
        # Before anything is written: a job may be running in this directory.
        if known and not slurm.take_up(
            run_dir, launched, display.listener, launcher=launcher, fresh=fresh, detach=detach
        ):
            return None
        if known and fresh:
            clear(run_dir)
            known = False
        plan = _resumed(draft) if known else _begun(draft, display, fresh)
        _write_launch_files(plan, run_dir)
        todo = reuse_stages(plan, _incomplete(plan, run_dir, display), run_dir, display)
        if launcher == "slurm" and set(todo) & set(launched) and not isinstance(plan, EndpointPlan):
            if not _run_as_job(plan, run_dir, display, detach):
                return None
            todo = [stage for stage in todo if stage not in launched]
        _run_stages(plan, todo, run_dir, display, others)
    return run_dir


def _resumed(draft: RunDraft) -> RunPlan:
    """Write and return the plan of a run that has begun, for the layout of this draft."""
    plan = complete(draft, beginning_of(read_run_plan(draft.run_dir)))
    write_bytes(draft.run_dir / "recipe.yaml", draft.loaded.document.text)
    write_json(draft.run_dir / "plan.json", plan.to_json())
    return plan


def _begun(draft: RunDraft, display: Display, fresh: bool) -> RunPlan:
    """Fetch the model, read and check the data, and create the run directory with its complete plan."""
    if fresh or "train" not in reusable(draft):
        _warn_of_another_batch(draft, display)
    with preparing(draft.run_dir) as prepared:
        display.stage("data", "reading and checking", shows_itself=on_the_hub(draft.recipe))
        data = prepare_data(draft.recipe, prepared, display.warn)
        model = None if isinstance(draft, EndpointDraft) else fetched_model(draft, display)
        plan = begin(draft, model, data, fresh)
        write_bytes(prepared / "recipe.yaml", draft.loaded.document.text)
        write_json(prepared / "plan.json", plan.to_json())
        adopt(prepared, draft.run_dir)
    return plan


def fetched_model(draft: LocalDraft, display: Display, weights: bool = True) -> Model:
    """Return the model of a run, downloaded if it is on the hub.

    Args:
        draft: of the run.
        display: shows the progress.
        weights: whether to download them too.

    Raises:
        ModelError: it cannot be downloaded, or cannot do what the recipe asks of it.
    """
    recipe = draft.recipe
    folder, revision = draft.model_folder, recipe.revision_of_model
    if folder is None:
        display.stage("model", f"downloading {recipe.base_model}", shows_itself=True)
        fetched = fetch_model(recipe.base_model, revision, weights)
        folder, revision = fetched.path, fetched.revision
        if wrong := problems_of_files(recipe, folder, weights):
            raise ModelError("\n".join(message for _, message in wrong))
    return model_of(recipe, folder, revision, draft.content_sha256)


def _warn_of_another_batch(draft: RunDraft, display: Display) -> None:
    """Warn if there is an unfinished training of this recipe with another global batch.

    On another number of devices, the same command is another experiment, which starts from scratch.
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
            if begun.identity == identity_of(draft.recipe, before, draft.content_sha256):
                display.warn(
                    f"this run starts from scratch: the unfinished training of this recipe in {other} has a global "
                    f"batch of {before} (got {now}). To resume that one, set micro_batch_size and "
                    f"gradient_accumulation_steps so that their product with the number of processes is {before}"
                )


def _write_launch_files(plan: RunPlan, run_dir: Path) -> None:
    """Write the files that the launcher and DeepSpeed read, from the plan."""
    if isinstance(plan, TrainPlan) and plan.deepspeed is not None:
        write_json(run_dir / DS_CONFIG, plan.deepspeed)
    for group in plan.stages:
        if group.launch is not None:
            write_text(run_dir / group.launch.config_file, to_yaml(accelerate_config(group.launch, run_dir)))


def _incomplete(plan: RunPlan, run_dir: Path, display: Display) -> list[StageName]:
    """Return the stages to run, and delete what an earlier run of them left."""
    todo = [name for group in plan.stages for name in group.names]
    while todo and is_complete(run_dir, todo[0], plan.keys.report if todo[0] == "report" else None):
        display.stage(todo.pop(0), "already complete")
    forget(run_dir, todo)
    if "train" in todo:
        shutil.rmtree(run_dir / PARTIAL_PREDICTIONS, ignore_errors=True)  # of an earlier model
    return todo


def _run_as_job(plan: LocalPlan, run_dir: Path, display: Display, detach: bool) -> bool:
    """Submit the workers' stages as a Slurm job; return whether they are complete (with ``detach``: do not wait)."""
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
    predict = None if isinstance(plan, EndpointPlan) else plan.predict
    for group in stage_groups(train, predict, todo):
        try:
            if group.launch is None:
                _run_in_the_command(group.names, plan, run_dir, display)
            else:
                _launch(group.names, group.launch, run_dir, display, others)
        except OSError as error:  # a stage was started, so this is not a usage error
            raise StageError(f"the {group.names[0]} stage failed: {os_error_text(error)}") from error


def _launch(
    names: Sequence[StageName], launch: Launch, run_dir: Path, display: Display, others: OtherMachines | None
) -> None:
    """Run stages in worker processes, on this machine or on several."""
    display.stage(names[0], f"starting {launch.processes} process{'es' if launch.processes > 1 else ''}")
    if launch.machines == 1:
        run_processes(launch, run_dir, names, display.listener)
    else:
        assert others is not None, "a launch on several machines connects to the others first"
        others.run_everywhere(launch, run_dir, names, display.listener)


def _run_in_the_command(names: Sequence[StageName], plan: RunPlan, run_dir: Path, display: Display) -> None:
    """Run stages that need no worker process."""
    for name in names:
        display.stage(name, "running")
        match name:
            case "predict":
                assert isinstance(plan, EndpointPlan), "workers run this stage where the model is on this machine"
                ask(plan, run_dir, display.listener)
            case "evaluate":
                _evaluate(plan, run_dir)
            case "report":
                _report(plan, run_dir)
            case _:
                raise AssertionError(f"the command does not run the stage {name!r}")
        mark_complete(run_dir, name, plan.keys.report if name == "report" else None)


def _evaluate(plan: RunPlan, run_dir: Path) -> None:
    from summtune.evaluator.evaluation import evaluate, write_evaluation

    predictions = read_predictions(run_dir / "predictions.jsonl")
    training = run_dir / TRAINING_FILE
    scores = evaluate(
        predictions,
        plan.recipe.evaluation,
        leakage={str(role): found for role, found in plan.data.leakage.items()},
        training=read_model(Training, training) if training.exists() else None,
    )
    write_evaluation(run_dir, scores)


def _report(plan: RunPlan, run_dir: Path) -> None:
    from summtune.report import write_run_report
    from summtune.report.model_card import model_card

    if plan.kind == "train":
        write_text(run_dir / "model" / "README.md", model_card(run_dir))
    write_json(run_dir / COST_FILE, read_facts(run_dir).cost.to_json())
    write_run_report(run_dir)
