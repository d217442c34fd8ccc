"""The command ``run``: resolves a recipe, runs it on this machine's part, and shows the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError
from summtune.commands.compare import run_comparison
from summtune.commands.display import TerminalDisplay
from summtune.commands.pipeline import Display, run
from summtune.commands.results import show_result
from summtune.launchers.local import MachineRank
from summtune.launchers.machines import OtherMachines, commands, join, this_machine
from summtune.plan.resolve import Resolved, resolve
from summtune.runs.run_directory import is_complete


def run_recipe(
    recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool = False, detach: bool = False
) -> None:
    """Run a recipe to its end and show the result; with ``detach`` only as far as a Slurm job is needed."""
    console = SafeConsole(stderr=True)
    with TerminalDisplay(console) as display:
        display.wait("recipe", "reading and checking")
        resolved = resolve(recipe, sets, output_dir)
        if detach and not any(part.plan.recipe.launcher == "slurm" for part in resolved.runs):
            raise InputError("--detach leaves a Slurm job alone (got a recipe without `launcher: slurm`); remove it")
        machine = _this_machine(resolved, _command(recipe, sets, output_dir, fresh))
        if machine is None:
            run_dir = run_resolved(resolved, display, fresh, detach)
        elif machine.rank == 0:
            with OtherMachines(machine, resolved.machines, resolved.plan.identity) as others:
                run_dir = run_resolved(resolved, display, fresh, detach, others)
        else:
            join(machine, resolved.plan.identity, display.listener, lambda: not fresh and _is_done(resolved))
            display.stage("machines", f"machine {machine.rank} is done; the result is in {resolved.run_dir}")
            return
    if run_dir is not None:
        show_result(run_dir, console)
    else:
        console.print("the same command shows how it goes, and the result")


def run_resolved(
    resolved: Resolved,
    display: Display,
    fresh: bool = False,
    detach: bool = False,
    others: OtherMachines | None = None,
) -> Path | None:
    """Run a resolved recipe of any kind; see `summtune.commands.pipeline.run`."""
    run_all = run_comparison if resolved.plan.kind == "compare" else run
    return run_all(resolved, display, fresh, detach, others)


def _is_done(resolved: Resolved) -> bool:
    """Return whether no process has to be started any more."""
    launched = [(run.run_dir, stage) for run in resolved.runs for stage in run.plan.stages if stage.launch is not None]
    return all(is_complete(run_dir, stage.name) for run_dir, stage in launched)


def _this_machine(resolved: Resolved, command: Sequence[str]) -> MachineRank | None:
    """Return which machine this is; None when there is only one.

    Raises:
        InputError: there are several, and nothing says which one this is; the command for each is given.
    """
    if resolved.machines == 1:
        return None
    machine = this_machine(resolved.machines)
    if machine is None:
        lines = "\n".join(commands(resolved.machines, command))
        raise InputError(
            f"num_machines: {resolved.machines} needs the same command on each machine (got no MACHINE_RANK); these, "
            f"with the first machine's address where the others can reach it:\n{lines}"
        )
    return machine


def _command(recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool) -> list[str]:
    """Return the command that was given, as another machine needs it."""
    options = [text for setting in sets for text in ("--set", setting)]
    options += ["--output-dir", str(output_dir)] if output_dir is not None else []
    return ["summtune", "run", str(recipe), *options, *(["--fresh"] if fresh else [])]


def show_plan(recipe: Path, sets: Sequence[str], output_dir: Path | None) -> None:
    """Print what a recipe would do."""
    from summtune.commands.dry_run import print_commands, print_plan

    resolved = resolve(recipe, sets, output_dir)
    console = SafeConsole()
    print_plan(resolved, console)
    if resolved.machines > 1:
        print_commands(commands(resolved.machines, _command(recipe, sets, output_dir, fresh=False)), console)
    for _, part in resolved.parts:
        console.print()
        print_plan(part, console)
