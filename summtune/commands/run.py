"""The command ``run``: resolves a recipe, runs this machine's part of it, and prints the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError
from summtune.base.printing import say_lines
from summtune.commands.compare import run_comparison
from summtune.commands.displaced import displaced_keys
from summtune.commands.display import TerminalDisplay
from summtune.commands.endpoint import check_key
from summtune.commands.pipeline import Display, run
from summtune.commands.results import show_result
from summtune.launchers.local import MachineRank
from summtune.launchers.machines import OtherMachines, commands, join, this_machine
from summtune.plan.draft import CompareDraft, Draft, ScoredDraft, machines_of, runs_of
from summtune.plan.resolve import resolve
from summtune.runs.run_directory import is_complete


def run_recipe(
    recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool = False, detach: bool = False
) -> None:
    """Run a recipe and print the result; with ``detach``, return once its Slurm jobs are submitted."""
    console = SafeConsole(stderr=True)
    with TerminalDisplay(console) as display:
        display.wait("recipe", "reading and checking")
        draft = resolve(recipe, sets, output_dir)
        for text in displaced_keys(draft):
            display.stage("recipe", text)
        if detach and not any(run.recipe.launcher == "slurm" for run in runs_of(draft)):
            raise InputError("--detach needs a Slurm job (got a recipe without `launcher: slurm`); remove it")
        machine = this_machine_of(machines_of(draft), command_of(recipe, sets, output_dir, fresh))
        if machine is None:
            run_dir = run_draft(draft, display, fresh, detach)
        elif machine.rank == 0:
            with OtherMachines(machine, machines_of(draft), draft.identity) as others:
                run_dir = run_draft(draft, display, fresh, detach, others)
        else:
            join(machine, draft.identity, display.listener, lambda: not fresh and _is_done(draft))
            display.stage("machines", f"machine {machine.rank} has finished; the result is in {draft.run_dir}")
            return
    if run_dir is not None:
        show_result(run_dir, console)
    else:
        console.print("run the same command again to see the progress and the result")


def run_draft(
    draft: Draft,
    display: Display,
    fresh: bool = False,
    detach: bool = False,
    others: OtherMachines | None = None,
) -> Path | None:
    """Run a recipe of any kind; see `summtune.commands.pipeline.run`."""
    for part in runs_of(draft):
        check_key(part, fresh)
    if isinstance(draft, CompareDraft):
        return run_comparison(draft, display, fresh, detach, others)
    return run(draft, display, fresh, detach, others)


def _is_done(draft: Draft) -> bool:
    """Return whether all stages of workers are complete."""
    launched = [
        (run.run_dir, name)
        for run in runs_of(draft)
        for group in run.stages
        if group.launch is not None
        for name in group.names
    ]
    return all(is_complete(run_dir, name) for run_dir, name in launched)


def this_machine_of(machines: int, command: Sequence[str]) -> MachineRank | None:
    """Return the rank of this machine; None if there is only one machine.

    Raises:
        InputError: there are several, and the environment does not set the rank; with the command for each.
    """
    if machines == 1:
        return None
    machine = this_machine(machines)
    if machine is None:
        lines = "\n".join(commands(machines, command))
        raise InputError(
            f"num_machines: {machines} needs the command on each machine (got no MACHINE_RANK); run these, with an "
            f"address of the first machine that the others can reach:\n{lines}"
        )
    return machine


def command_of(recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool = False) -> list[str]:
    """Return the command of this call, for another machine to run."""
    options = [text for setting in sets for text in ("--set", setting)]
    options += ["--output-dir", str(output_dir)] if output_dir is not None else []
    return ["summtune", "run", str(recipe), *options, *(["--fresh"] if fresh else [])]


def show_plan(recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool = False) -> None:
    """Print the plan of a recipe without running it; with ``fresh``, as of a run that reuses nothing."""
    from summtune.commands.dry_run import print_commands, print_comparison, print_plan, print_scoring

    draft = resolve(recipe, sets, output_dir)
    say_lines(displaced_keys(draft))
    console = SafeConsole()
    if isinstance(draft, CompareDraft):
        print_comparison(draft, console)
    else:
        print_plan(draft, console, fresh)
    if machines_of(draft) > 1:
        print_commands(commands(machines_of(draft), command_of(recipe, sets, output_dir)), console)
    if isinstance(draft, CompareDraft):
        for _, part in draft.parts:
            console.print()
            if isinstance(part, ScoredDraft):
                print_scoring(part, console, fresh)
            else:
                print_plan(part, console, fresh)
