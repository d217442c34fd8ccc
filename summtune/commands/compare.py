"""The command ``compare``, and recipes that compare others: every system is run, then all are compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError
from summtune.base.files import followed, write_bytes, write_json, write_text
from summtune.base.printing import show_json
from summtune.commands.pipeline import Display, run
from summtune.commands.results import show_comparison
from summtune.launchers.machines import OtherMachines
from summtune.plan.beginning import origin_now
from summtune.plan.draft import CompareDraft, RunDraft, complete_comparison
from summtune.plan.plan import origin_of, read_plan
from summtune.runs.run_directory import as_written, check_free, clear, leaving_nothing, locked


def compare_runs(run_dirs: Sequence[Path], as_json: bool) -> None:
    """Compare finished runs and print scores, differences and the verdict."""
    comparison = comparison_of([(None, path) for path in run_dirs])
    if as_json:
        show_json(comparison)
    else:
        with as_written(*run_dirs):
            show_comparison(comparison, SafeConsole())


def comparison_of(runs: Sequence[tuple[str | None, Path]]) -> dict[str, Any]:
    """Return what ``comparison.json`` holds, for finished runs; the first is the baseline.

    Args:
        runs: by two or more, the name of a system (None: that of its directory) and its run directory.

    Raises:
        InputError: there are fewer than two.
        ComparisonError: they were scored under different protocols or on different dialogues.
        RunDirectoryError: a directory does not hold a finished run.
    """
    from summtune.evaluator.comparison import compare
    from summtune.evaluator.systems import read_system

    if len(runs) < 2:
        raise InputError(f"a comparison needs at least two runs (got {len(runs)}); name their directories")
    with as_written(*(path for _, path in runs)):
        systems = [read_system(name, followed(path)) for name, path in runs]
        return compare(systems, systems[0].name)


def run_comparison(
    draft: CompareDraft,
    display: Display,
    fresh: bool = False,
    detach: bool = False,
    others: OtherMachines | None = None,
) -> Path | None:
    """Run every system of a comparison that is not complete, and compare them.

    Args:
        draft: of the comparison's plan.
        display: told what goes on.
        fresh: begin every system anew.
        detach: do not wait for Slurm jobs: those of all systems are submitted.
        others: the other machines of a launch on several, without a scheduler.

    Returns:
        The comparison's directory; None when a Slurm job has yet to do its part.

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
        with as_written(run_dir):
            systems = [read_system(name, part.run_dir) for name, part in draft.parts]
            comparison = compare(systems, draft.recipe.baseline or systems[0].name)
            write_json(run_dir / "comparison.json", comparison)
            for system in systems:
                if system.kind == "train":
                    write_text(system.run_dir / "model" / "README.md", model_card(system.run_dir, comparison))
            write_compare_report(run_dir)
    return run_dir


def _run_systems(
    parts: Sequence[tuple[str, RunDraft]], display: Display, fresh: bool, detach: bool, others: OtherMachines | None
) -> bool:
    """Run the systems and return whether all are complete."""
    done: set[Path] = set()
    complete = True
    for number, (name, part) in enumerate(parts):
        display.systems(number, len(parts))
        display.stage(name, f"system {number + 1} of {len(parts)}, {part.run_dir}")
        # Two names for one run (the same recipe under equal overrides) are run once, also with --fresh.
        complete &= run(part, display, fresh and part.run_dir not in done, detach, others) is not None
        done.add(part.run_dir)
    display.systems(len(parts), len(parts))
    return complete
