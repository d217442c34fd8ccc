"""Prints the scores of runs and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.printing import say
from summtune.base.strict import read_model
from summtune.base.visible import message_line
from summtune.runs.comparison import COMPARISON_FILE, ComparedSystem, Comparison
from summtune.runs.metrics import RunMetrics


def show_result(run_dir: Path, console: SafeConsole) -> None:
    """Print the scores of a finished run or comparison, and the path of its report."""
    from summtune.report.table import print_scores
    from summtune.runs.finished import read_run

    if (run_dir / COMPARISON_FILE).is_file():
        show_comparison(read_model(Comparison, run_dir / COMPARISON_FILE), console)
    else:
        run = read_run(run_dir)
        print_scores(console, [run.compared()], run.scores.floor, run.scores.ceiling)
        show_warnings(run.scores.diagnostics.warnings)
    console.print(f"\nreport: {run_dir / 'report.html'}", soft_wrap=True)


def show_scores(name: str, scores: RunMetrics, console: SafeConsole) -> None:
    """Print the scores of external outputs with their protocol."""
    from summtune.report.contents import protocol_sentence
    from summtune.report.table import print_scores, print_sentence

    print_scores(console, [ComparedSystem.external(name, "", scores)], scores.floor, scores.ceiling)
    scored_on = f"{scores.n:,} dialogue{'s' if scores.n > 1 else ''}"
    print_sentence(console, f"{scored_on}. {protocol_sentence(scores.protocol, scores.metrics)}")
    show_warnings(scores.diagnostics.warnings)


def show_comparison(comparison: Comparison, console: SafeConsole) -> None:
    """Print the scores of a comparison, its verdict and its warnings."""
    from summtune.report.table import print_scores, print_sentence

    print_scores(console, comparison.systems, comparison.floor, comparison.ceiling)
    for sentence in comparison.verdict:
        print_sentence(console, f"- {message_line(sentence)}")
    show_warnings(comparison.warnings)


def show_warnings(warnings: Sequence[str]) -> None:
    """Print the warnings that are also at the top of the report."""
    for warning in warnings:
        say(f"warning: {warning}")
