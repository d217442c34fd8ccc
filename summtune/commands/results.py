"""Shows the scores of runs and comparisons on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summtune.base.console import SafeConsole
from summtune.base.files import read_json
from summtune.base.printing import say
from summtune.base.visible import message_line


def show_result(run_dir: Path, console: SafeConsole) -> None:
    """Print the scores of a finished run or comparison, and where its report is."""
    from summtune.report.table import print_scores

    if (run_dir / "comparison.json").is_file():
        show_comparison(read_json(run_dir / "comparison.json"), console)
    else:
        metrics = read_json(run_dir / "metrics.json")
        print_scores(console, systems_shown(run_dir), metrics["floor"], metrics["ceiling"])
        show_warnings(metrics["diagnostics"].get("warnings", ()))
    console.print(f"\nreport: {run_dir / 'report.html'}", soft_wrap=True)


def show_scores(system: dict[str, Any], metrics: dict[str, Any], console: SafeConsole) -> None:
    """Print the scores of external outputs with their protocol."""
    from summtune.report.contents import protocol_sentence
    from summtune.report.table import print_scores, print_sentence

    print_scores(console, [system], metrics["floor"], metrics["ceiling"])
    scored_on = f"{metrics['n']:,} dialogue{'s' if metrics['n'] > 1 else ''}"
    print_sentence(console, f"{scored_on}. {protocol_sentence(metrics['protocol'], metrics['metrics'])}")
    show_warnings(metrics["diagnostics"]["warnings"])


def show_comparison(comparison: dict[str, Any], console: SafeConsole) -> None:
    """Print the scores of a comparison, its verdict and its warnings."""
    from summtune.report.table import print_scores, print_sentence

    print_scores(console, comparison["systems"], comparison["floor"], comparison["ceiling"])
    for sentence in comparison["verdict"]:
        print_sentence(console, f"- {message_line(sentence)}")
    show_warnings(comparison["warnings"])


def show_warnings(warnings: Sequence[str]) -> None:
    """Print what a reader of the scores must know: the sentences that the report has on top."""
    for warning in warnings:
        say(f"warning: {warning}")


def systems_shown(run_dir: Path) -> list[dict[str, Any]]:
    """Return the systems of a comparison, or a run as the only one, as tables and charts read them."""
    if (run_dir / "comparison.json").is_file():
        systems: list[dict[str, Any]] = read_json(run_dir / "comparison.json")["systems"]
        return systems
    plan, metrics = read_json(run_dir / "plan.json"), read_json(run_dir / "metrics.json")
    stats = read_json(run_dir / "prediction_stats.json")
    return [{"name": plan["name"], "metrics": metrics["metrics"], **stats}]
