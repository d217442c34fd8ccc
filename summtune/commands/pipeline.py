"""Takes a resolved recipe through its stages: what is complete stays, what is missing is done."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from summtune.base.errors import ModelError, StageError, os_error_text
from summtune.base.files import write_bytes, write_json, write_text
from summtune.base.places import BUILTIN_DATASETS, is_local
from summtune.base.strict import parse_model, read_model
from summtune.data.hub_access import fetch_model
from summtune.deepspeed.configs import DS_CONFIG, read_ds_config, sized
from summtune.launchers import slurm
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import Listener, run_processes
from summtune.launchers.machines import OtherMachines
from summtune.plan.keys import identify, model_identity
from summtune.plan.models import fetched_model
from summtune.plan.plan import Batch, Plan, StagePlan, launch_groups, read_plan
from summtune.plan.preparation import prepare_data
from summtune.plan.resolve import Resolved
from summtune.recipe.keys import Recipe
from summtune.runs import checkpoints
from summtune.runs.diagnostics import LeakedDialogues
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
from summtune.runs.run_plan import RoleView
from summtune.runs.statistics import TRAINING_FILE, Training


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
    resolved: Resolved,
    display: Display,
    fresh: bool = False,
    detach: bool = False,
    others: OtherMachines | None = None,
) -> Path | None:
    """Run every stage of a prompt or train recipe that is not complete.

    Args:
        resolved: the recipe with its plan.
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
    run_dir = resolved.run_dir
    known = check_free(run_dir, resolved.plan.identity)
    launcher = resolved.plan.recipe.launcher
    launched = [stage.name for stage in resolved.plan.stages if stage.launch is not None]
    with leaving_nothing(run_dir), locked(run_dir):
        # Before anything is written: a job may be at work here.
        if known and not slurm.take_up(
            run_dir, launched, display.listener, launcher=launcher, fresh=fresh, detach=detach
        ):
            return None
        if known and fresh:
            clear(run_dir)
            known = False
        if not known:
            _begin(resolved, display)
        plan = _current_plan(resolved)
        todo = _what_is_missing(plan, run_dir, display)
        if launcher == "slurm" and todo and todo[0].launch is not None:
            if not _run_as_job(plan, run_dir, display, detach):
                return None
            todo = [stage for stage in todo if stage.launch is None]
        _run_stages(plan, todo, run_dir, display, others)
    return run_dir


def _begin(resolved: Resolved, display: Display) -> None:
    """Fetch the model, read and check the data, and put a complete beginning into the run directory."""
    plan = resolved.plan
    _warn_of_another_batch(resolved, display)
    assert plan.model is not None
    with preparing(resolved.run_dir) as prepared:
        display.stage("data", "reading and checking", shows_itself=_on_the_hub(plan.recipe))
        data = prepare_data(plan.recipe, prepared, display.warn)
        model = plan.model
        if model.folder is None:
            display.stage("model", f"fetching {model.base_model}", shows_itself=True)
            fetched = fetch_model(model.base_model, model.revision)
            model = fetched_model(model, plan.recipe, fetched.path, fetched.revision)
        if not any(Path(str(model.folder)).glob("*.safetensors")):
            raise ModelError(
                f"the model has no safetensors (got {model.folder}); pickled weights are not loaded: convert it with "
                "`save_pretrained` of transformers"
            )
        write_bytes(prepared / "recipe.yaml", resolved.loaded.document.text)
        write_json(prepared / "plan.json", plan.model_copy(update={"data": data, "model": model}).to_json())
        adopt(prepared, resolved.run_dir)


def _warn_of_another_batch(resolved: Resolved, display: Display) -> None:
    """Say so where an unfinished training of this recipe lies beside, with another global batch.

    On fewer devices than yesterday the same command is another experiment, which begins anew.
    """
    plan, run_dir = resolved.plan, resolved.run_dir
    if plan.batch is None:
        return
    content = model_identity(plan.recipe)
    for other in sorted(run_dir.parent.glob(f"{plan.name}-*")):
        if is_complete(other, "train") or not checkpoints.checkpoints(other / "checkpoints"):
            continue
        with contextlib.suppress(OSError, ValueError):
            begun = read_plan(other)
            if begun.batch and begun.identity == identify(plan.recipe, begun.batch.global_batch, content):
                display.warn(
                    f"an unfinished training of this recipe has a global batch of {begun.batch.global_batch} (got "
                    f"{plan.batch.global_batch} now, {other}): this one begins anew. To go on with that one, choose "
                    "micro_batch_size and gradient_accumulation_steps so that times the processes they make "
                    f"{begun.batch.global_batch}"
                )


def _on_the_hub(recipe: Recipe) -> bool:
    """Return whether data is fetched, which shows bars of its own."""
    sources = [*(recipe.datasets or ()), *(recipe.test_datasets or ())]
    return not all(is_local(source.path) or source.path in BUILTIN_DATASETS for source in sources)


def _current_plan(resolved: Resolved) -> Plan:
    """Return the plan as of now: this launch's devices and processes, with the data and model found at the
    beginning."""
    run_dir = resolved.run_dir
    begun = read_plan(run_dir)
    batch = resolved.plan.batch
    if batch is not None:
        pairs = parse_model(RoleView, begun.data.get("train"), f"{run_dir / 'plan.json'}, data.train").pairs
        batch = Batch.of(resolved.plan.recipe, batch.processes, pairs)
    # Versions, commit and time stay those of the beginning: what is complete was made with them.
    kept = {key: getattr(begun, key) for key in ("data", "model", "versions", "git_commit", "created_at")}
    plan = resolved.plan.model_copy(update=kept | {"batch": batch})
    if plan.recipe.deepspeed is not None:
        trainable = plan.model.trainable_parameters if plan.model else None
        write_json(run_dir / DS_CONFIG, sized(read_ds_config(Path(plan.recipe.deepspeed)), trainable))
    for stage in plan.stages:
        if stage.launch is not None:
            write_text(run_dir / stage.launch.config_file, to_yaml(accelerate_config(stage.launch, run_dir)))
    write_bytes(run_dir / "recipe.yaml", resolved.loaded.document.text)
    write_json(run_dir / "plan.json", plan.to_json())
    return plan


def _what_is_missing(plan: Plan, run_dir: Path, display: Display) -> list[StagePlan]:
    """Return the stages that are to be run, and forget what an earlier run of them left."""
    todo = list(plan.stages)
    while todo and is_complete(run_dir, todo[0].name):
        display.stage(todo.pop(0).name, "already complete")
    forget(run_dir, [stage.name for stage in todo])
    if todo and todo[0].name == "train":
        shutil.rmtree(run_dir / PARTIAL_PREDICTIONS, ignore_errors=True)  # another model's
    return todo


def _run_as_job(plan: Plan, run_dir: Path, display: Display, detach: bool) -> bool:
    """Have Slurm run the stages of workers; return whether they are done, which with ``detach`` is not waited for."""
    names = [stage.name for stage in plan.stages if stage.launch is not None and not is_complete(run_dir, stage.name)]
    display.stage(names[0], f"submitting {run_dir / slurm.SCRIPT}")
    job = slurm.submit(plan, run_dir)
    display.stage("slurm", f"job {job.id}, log: {job.log(run_dir)}")
    if not detach:
        slurm.follow(job, run_dir, names, display.listener)
    return not detach


def _run_stages(
    plan: Plan, todo: Sequence[StagePlan], run_dir: Path, display: Display, others: OtherMachines | None
) -> None:
    for together in launch_groups(todo):
        names = [stage.name for stage in together]
        try:
            _run_group(plan, together, names, run_dir, display, others)
        except OSError as error:  # a stage was started: the call is not what is wrong
            raise StageError(f"the {names[0]} stage failed: {os_error_text(error)}") from error


def _run_group(
    plan: Plan,
    together: Sequence[StagePlan],
    names: Sequence[str],
    run_dir: Path,
    display: Display,
    others: OtherMachines | None,
) -> None:
    launch = together[0].launch
    if launch is None:
        display.stage(names[0], "running")
        _run_here(names[0], plan, run_dir)
        mark_complete(run_dir, names[0])
        return
    display.stage(names[0], f"starting {launch.processes} process{'es' if launch.processes > 1 else ''}")
    if launch.machines == 1:
        run_processes(launch, run_dir, names, display.listener)
    else:
        assert others is not None, "the command of each machine says which one it is"
        others.run_everywhere(launch, run_dir, names, display.listener)


def _run_here(stage: str, plan: Plan, run_dir: Path) -> None:
    if stage == "evaluate":
        from summtune.evaluator.evaluation import evaluate, write_evaluation

        predictions = read_predictions(run_dir / "predictions.jsonl")
        training = run_dir / TRAINING_FILE
        scores = evaluate(
            predictions,
            plan.recipe.evaluation,
            leakage=_leakage(plan, run_dir),
            training=read_model(Training, training) if training.exists() else None,
        )
        write_evaluation(run_dir, scores)
        return
    assert stage == "report", f"no such stage: {stage}"
    from summtune.report import write_run_report
    from summtune.report.model_card import model_card

    if plan.kind == "train":
        write_text(run_dir / "model" / "README.md", model_card(run_dir))
    write_run_report(run_dir)


def _leakage(plan: Plan, run_dir: Path) -> dict[str, LeakedDialogues]:
    """Return by role the test dialogues that were found in its data."""
    place = f"{run_dir / 'plan.json'}, data.leakage"
    return {role: parse_model(LeakedDialogues, found, place) for role, found in plan.data.get("leakage", {}).items()}
