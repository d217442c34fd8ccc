"""The command ``run --smoke``: takes a recipe's whole way with a few dialogues, in a directory that it deletes."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError, StageStopped
from summtune.base.files import write_json
from summtune.base.hashing import hash_of
from summtune.commands.compared_outputs import outputs_of
from summtune.commands.displaced import displaced_keys
from summtune.commands.display import TerminalDisplay
from summtune.commands.pipeline import Display, fetched_model
from summtune.commands.run import command_of, run_draft, this_machine_of
from summtune.commands.smoke_display import SmokeDisplay
from summtune.commands.smoke_forecast import WholeRun, forecast
from summtune.commands.smoke_result import print_smoke_result
from summtune.launchers import slurm
from summtune.launchers.local import MachineRank
from summtune.launchers.machines import OtherMachines, join
from summtune.plan.checking import Checked, CheckedComparison, CheckedRun, check
from summtune.plan.draft import CompareDraft, Draft, EndpointDraft, TrainDraft, begin, machines_of, runs_of
from summtune.plan.outputs import CheckedOutputs
from summtune.plan.plan import EndpointPlan
from summtune.plan.preparation import on_the_hub, prepare_data
from summtune.plan.resolve import drafted
from summtune.plan.smoke import (
    PAUSE_AFTER,
    dialogues_to_summarize,
    paused,
    short_data,
    smoke_folder,
    smoked,
    smoked_outputs,
)
from summtune.runs.run_directory import SYSTEMS, locked, remove_if_unused

_RUN = "run"
_DATA = "data"


def check_options(dry_run: bool, detach: bool, fresh: bool) -> None:
    """Check the options that ``--smoke`` is given with.

    Raises:
        InputError: one of them contradicts it, or would have no effect.
    """
    if dry_run:
        raise InputError("--smoke starts processes, and --dry-run starts none (got both); leave out one of them")
    if detach:
        raise InputError("--smoke waits for the end, upon which it forecasts the run (got --detach); remove it")
    if fresh:
        raise InputError("--smoke always starts from scratch (got --fresh, which has no effect); remove it")


def smoke_recipe(recipe: Path, sets: Sequence[str], output_dir: Path | None) -> None:
    """Take the whole way of a recipe with a few dialogues, and print what its run will need and take."""
    console = SafeConsole(stderr=True)
    with TerminalDisplay(console) as display:
        display.wait("recipe", "reading and checking")
        checked = check(recipe, sets)
        draft = drafted(checked, output_dir)
        for text in displaced_keys(draft):
            display.stage("recipe", text)
        machine = this_machine_of(machines_of(draft), [*command_of(recipe, sets, output_dir), "--smoke"])
        if machine is not None and machine.rank > 0:
            _join(machine, draft, display)
            display.stage("machines", f"machine {machine.rank} has finished; machine 0 shows the result")
            return
        began = time.monotonic()
        smoke_display = SmokeDisplay(display, any(run.recipe.launcher == "slurm" for run in runs_of(draft)))
        with _folder(draft, display) as folder:
            short, whole = _shortened(checked, draft, folder, display)
            _run(short, smoke_display, machine, draft)
            forecasts = [forecast(each, run.run_dir) for each, run in zip(whole, runs_of(short), strict=True)]
    outputs = len(draft.parts) - len(whole) if isinstance(draft, CompareDraft) else 0
    print_smoke_result(forecasts, time.monotonic() - began, smoke_display.waited, console, outputs)


@contextlib.contextmanager
def _folder(draft: Draft, display: TerminalDisplay) -> Iterator[Path]:
    """Yield an empty folder for the smoke run, locked; delete it afterwards, but keep what a failed run has left.

    Raises:
        RunDirectoryError: another command is using it, or a Slurm job that an earlier one has submitted is active.
    """
    folder = smoke_folder(draft)
    unneeded = [folder, folder.parent, *(path for path in folder.parents[1:] if not path.exists())]
    ours = False
    try:
        with locked(folder):
            ours = True
            for left in _runs_in(folder):
                slurm.take_up(left, (), display.listener, launcher=_launcher(draft), fresh=True, detach=False)
            _empty(folder)
            try:
                yield folder
            except BaseException:
                if _runs_in(folder):
                    display.stage("smoke", f"not finished; {folder} is kept until the same command starts over")
                else:
                    _empty(folder)
                raise
            _empty(folder)
    finally:
        for path in unneeded if ours else ():  # only now: a network file system keeps the name of a file that is open
            remove_if_unused(path)


def _launcher(draft: Draft) -> str:
    return "slurm" if any(run.recipe.launcher == "slurm" for run in runs_of(draft)) else "local"


def _runs_in(folder: Path) -> list[Path]:
    """Return the run directories of a smoke run: of the recipe and, if it is a comparison, of its systems."""
    run_dir = folder / _RUN
    return [each for each in (run_dir, *(run_dir / SYSTEMS).glob("*")) if (each / "plan.json").is_file()]


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def _shortened(checked: Checked, draft: Draft, folder: Path, display: Display) -> tuple[Draft, list[WholeRun]]:
    """Return the draft of the smoke run below ``folder``, and the runs for which it stands."""
    parts = checked.parts if isinstance(checked, CheckedComparison) else ((draft.name, checked),)
    compared = {name: part for name, part in parts if isinstance(part, CheckedRun)}
    dialogues = dialogues_to_summarize(runs_of(draft))
    whole: list[WholeRun] = []
    short: dict[str, CheckedRun] = {}
    for number, ((name, part), run) in enumerate(zip(compared.items(), runs_of(draft), strict=True)):
        display.stage("data", f"reading and checking, for {name}", shows_itself=on_the_hub(run.recipe))
        into = folder / _DATA / str(number)
        data = prepare_data(run.recipe, into / "whole", display.warn)
        model = None if isinstance(run, EndpointDraft) else fetched_model(run, display)
        plan = begin(run, model, data)
        write_json(into / "whole" / "plan.json", plan.to_json())
        longest = short_data(plan, into / "whole", into, dialogues)
        whole.append(WholeRun(name, run, plan, None if longest is None else longest.ratio))
        short[name] = smoked(part, into)
    models = [None if isinstance(each.plan, EndpointPlan) else Path(each.plan.model.folder) for each in whole]
    if not isinstance(checked, CheckedComparison):
        (alone,) = short.values()
        return paused(drafted(alone, folder / _RUN), models), whole
    like = next(iter(short.values())).recipe
    outputs: dict[str, CheckedOutputs] = {}
    for number, (name, outside) in enumerate(checked.parts):
        if isinstance(outside, CheckedOutputs):
            display.stage("data", f"reading and checking, for {name}", shows_itself=on_the_hub(outside.like))
            matched = outputs_of(outside, lambda note: display.stage("data", note))
            into = folder / _DATA / f"outputs-{number}"
            outputs[name] = smoked_outputs(outside, matched.predictions[:dialogues], like, into)
    systems: dict[str, CheckedRun | CheckedOutputs] = {**short, **outputs}
    again = CheckedComparison(checked.loaded, checked.recipe, tuple((name, systems[name]) for name, _ in parts))
    return paused(drafted(again, folder / _RUN), models), whole


def _run(short: Draft, display: SmokeDisplay, machine: MachineRank | None, draft: Draft) -> None:
    """Run the smoke run to its end; each of its trainings pauses once, and the next round resumes it."""
    trainings = _trainings(short)
    for left in range(trainings, -1, -1):
        others = (
            contextlib.nullcontext()
            if machine is None
            else OtherMachines(machine, machines_of(draft), _identity(draft))
        )
        try:
            with others as connected:
                run_draft(short, display, others=connected)
        except StageStopped:
            if left == 0:
                raise
            display.stage("smoke", f"paused after step {PAUSE_AFTER}, as planned; the processes start again")
        else:
            return


def _join(machine: MachineRank, draft: Draft, display: TerminalDisplay) -> None:
    """Run another machine's share: it connects to machine 0 again after each pause."""
    for left in range(_trainings(draft), -1, -1):
        try:
            join(machine, _identity(draft), display.listener, lambda: False)
        except StageStopped:
            if left == 0:
                raise
        else:
            return


def _trainings(draft: Draft) -> int:
    return sum(isinstance(run, TrainDraft) for run in runs_of(draft))


def _identity(draft: Draft) -> str:
    """Return by what the machines of a smoke run recognize each other; a run without ``--smoke`` is another one."""
    return hash_of(["smoke", draft.identity])
