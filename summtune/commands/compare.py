"""Compares runs: the finished ones of the command ``compare``, or those that a recipe of kind compare runs first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError
from summtune.base.files import followed, write_bytes, write_json, write_text
from summtune.base.printing import show_json
from summtune.commands.compared_outputs import score_compared
from summtune.commands.pipeline import Display, run
from summtune.commands.results import show_comparison
from summtune.launchers.machines import OtherMachines
from summtune.plan.beginning import origin_now
from summtune.plan.draft import CompareDraft, RunDraft, ScoredDraft, complete_comparison
from summtune.plan.plan import origin_of, read_plan
from summtune.runs.comparison import COMPARISON_FILE, Comparison
from summtune.runs.run_directory import check_free, clear, leaving_nothing, locked


def compare_runs(run_dirs: Sequence[Path], as_json: bool) -> None:
    """Compare finished runs and print their scores and the verdict."""
    comparison = comparison_of([(None, path) for path in run_dirs])
    if as_json:
        show_json(comparison.to_json())
    else:
        show_comparison(comparison, SafeConsole())


def comparison_of(runs: Sequence[tuple[str | None, Path]]) -> Comparison:
    """Return the content of ``comparison.json`` for finished runs; the first is the baseline.

    Args:
        runs: for each of at least two systems, its name (None: the name in its plan) and its run directory.

    Raises:
        InputError: there are fewer than two.
        ComparisonError: they were scored under different protocols or on different dialogues.
        RunDirectoryError: a directory does not contain a finished run.
    """
    from summtune.evaluator.comparison import compare
    from summtune.evaluator.systems import read_system

    if len(runs) < 2:
        raise InputError(f"a comparison needs at least two runs (got {len(runs)}); name their directories")
    systems = [read_system(name, followed(path)) for name, path in runs]
    return compare(systems, systems[0].name)


def run_comparison(
    draft: CompareDraft,
    display: Display,
    fresh: bool = False,
    detach: bool = False,
    others: OtherMachines | None = None,
) -> Path | None:
    """Run the systems of a comparison that are not complete, and compare all of them.

    Args:
        draft: of the comparison's plan.
        display: shows the progress.
        fresh: run every system from scratch.
        detach: submit the Slurm jobs of all systems and do not wait for them.
        others: the other machines of a launch on several machines without a scheduler.

    Returns:
        The comparison's directory; None while a Slurm job has not finished.

    Raises:
        ComparisonError: the systems were scored under different protocols or on different dialogues.
        InputError, StageError: a system could not be run.
    """
    from summtune.evaluator.comparison import compare
    from summtune.evaluator.systems import read_system
    from summtune.report import write_compare_report
    from summtune.report.model_card import model_card

    run_dir = draft.run_dir
    known = check_free(run_dir, draft.identity)
    with leaving_nothing(run_dir), locked(run_dir):
        begun = None if fresh or not known else origin_of(read_plan(run_dir))
        if known and fresh:
            clear(run_dir)
        plan = complete_comparison(draft, begun or origin_now(draft.loaded.path.parent))
        write_bytes(run_dir / "recipe.yaml", draft.loaded.document.text)
        write_json(run_dir / "plan.json", plan.to_json())
        try:
            complete = _run_systems(draft.parts, display, fresh, detach, others)
        except BaseException:
            if not known and not any((part.run_dir / "plan.json").exists() for _, part in draft.parts):
                clear(run_dir)  # nothing was started
            raise
        if not complete:
            return None
        display.stage("compare", f"{len(draft.parts)} systems")
        systems = [read_system(name, part.run_dir) for name, part in draft.parts]
        comparison = compare(systems, draft.recipe.baseline or systems[0].name)
        write_json(run_dir / COMPARISON_FILE, comparison.to_json())
        for system in systems:
            if system.facts.kind == "train":
                write_text(system.run_dir / "model" / "README.md", model_card(system.run_dir, comparison))
        write_compare_report(run_dir)
    return run_dir


def _run_systems(
    parts: Sequence[tuple[str, RunDraft | ScoredDraft]],
    display: Display,
    fresh: bool,
    detach: bool,
    others: OtherMachines | None,
) -> bool:
    """Run the systems; return whether all are complete."""
    done: set[Path] = set()
    complete = True
    # Outputs come first: if they do not fit test data on the hub, nothing has been trained for the comparison yet.
    in_order = sorted(parts, key=lambda part: not isinstance(part[1], ScoredDraft))
    for number, (name, part) in enumerate(in_order):
        display.systems(number, len(parts))
        display.stage(name, f"system {number + 1} of {len(parts)}, {part.run_dir}")
        # Two names for one run (the same recipe with equal overrides): it runs once, even with --fresh.
        again = fresh and part.run_dir not in done
        if isinstance(part, ScoredDraft):
            score_compared(part, display, again)
        else:
            complete &= run(part, display, again, detach, others) is not None
        done.add(part.run_dir)
    display.systems(len(parts), len(parts))
    return complete
