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
from summtune.launchers.local import Place
from summtune.launchers.machines import OtherMachines, commands, join, place_here
from summtune.plan.draft import CompareDraft, Draft, machines_of, runs_of
from summtune.plan.resolve import resolve
from summtune.runs.run_directory import as_written, is_complete


def run_recipe(
    recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool = False, detach: bool = False
) -> None:
    """Run a recipe to its end and show the result; with ``detach`` only as far as a Slurm job is needed."""
    console = SafeConsole(stderr=True)
    with TerminalDisplay(console) as display:
        display.wait("recipe", "reading and checking")
        draft = resolve(recipe, sets, output_dir)
        if detach and not any(run.recipe.launcher == "slurm" for run in runs_of(draft)):
            raise InputError("--detach leaves a Slurm job alone (got a recipe without `launcher: slurm`); remove it")
        place = _place(machines_of(draft), _command(recipe, sets, output_dir, fresh))
        if place is None:
            run_dir = _run(draft, display, fresh, detach, None)
        elif place.rank == 0:
            with OtherMachines(place, machines_of(draft), draft.identity) as others:
                run_dir = _run(draft, display, fresh, detach, others)
        else:
            join(place, draft.identity, display.listener, lambda: not fresh and _is_done(draft))
            display.stage("machines", f"machine {place.rank} is done; the result is in {draft.run_dir}")
            return
    if run_dir is not None:
        with as_written(run_dir):
            show_result(run_dir, console)
    else:
        console.print("the same command shows how it goes, and the result")


def _run(draft: Draft, display: Display, fresh: bool, detach: bool, others: OtherMachines | None) -> Path | None:
    if isinstance(draft, CompareDraft):
        return run_comparison(draft, display, fresh, detach, others)
    return run(draft, display, fresh, detach, others)


def _is_done(draft: Draft) -> bool:
    """Return whether no process has to be started any more."""
    launched = [
        (run.run_dir, name)
        for run in runs_of(draft)
        for group in run.stages
        if group.launch is not None
        for name in group.names
    ]
    return all(is_complete(run_dir, name) for run_dir, name in launched)


def _place(machines: int, command: Sequence[str]) -> Place | None:
    """Return which of the machines this is; None when there is only one.

    Raises:
        InputError: there are several, and nothing says which one this is; the command for each is given.
    """
    if machines == 1:
        return None
    place = place_here(machines)
    if place is None:
        lines = "\n".join(commands(machines, command))
        raise InputError(
            f"num_machines: {machines} needs the same command on each machine (got no MACHINE_RANK); these, "
            f"with the first machine's address where the others can reach it:\n{lines}"
        )
    return place


def _command(recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool) -> list[str]:
    """Return the command that was given, as another machine needs it."""
    options = [text for setting in sets for text in ("--set", setting)]
    options += ["--output-dir", str(output_dir)] if output_dir is not None else []
    return ["summtune", "run", str(recipe), *options, *(["--fresh"] if fresh else [])]


def show_plan(recipe: Path, sets: Sequence[str], output_dir: Path | None) -> None:
    """Print what a recipe would do."""
    from summtune.commands.dry_run import print_commands, print_comparison, print_plan

    draft = resolve(recipe, sets, output_dir)
    console = SafeConsole()
    if isinstance(draft, CompareDraft):
        print_comparison(draft, console)
    else:
        print_plan(draft, console)
    if machines_of(draft) > 1:
        print_commands(commands(machines_of(draft), _command(recipe, sets, output_dir, fresh=False)), console)
    if isinstance(draft, CompareDraft):
        for part in runs_of(draft):
            console.print()
            print_plan(part, console)
