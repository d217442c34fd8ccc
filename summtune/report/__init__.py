"""Presents the results of runs and comparisons: report.html, report.md, tables, charts and the model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from summtune.report.contents import Contents


def write_run_report(run_dir: Path) -> Path:
    """Write ``report.html`` and ``report.md`` of a run, and return the path of ``report.html``.

    Raises:
        RunDirectoryError: the run has no scores yet, or its files do not belong together.
    """
    from summtune.report.contents import run_contents
    from summtune.runs.finished import read_run

    return _write(run_dir, run_contents(read_run(run_dir)))


def write_compare_report(compare_dir: Path) -> Path:
    """Write ``report.html`` and ``report.md`` of a comparison, and return the path of ``report.html``.

    Raises:
        RunDirectoryError: there is no ``comparison.json``, or a system's files are missing.
    """
    from summtune.report.contents import comparison_contents
    from summtune.runs.finished import read_comparison

    return _write(compare_dir, comparison_contents(read_comparison(compare_dir)))


def _write(folder: Path, contents: Contents) -> Path:
    """Write both files, ``report.html`` last, because it marks the report as complete."""
    from summtune.base.files import write_bytes, write_text
    from summtune.report.markdown import to_markdown
    from summtune.report.page import to_html

    write_text(folder / "report.md", to_markdown(contents))
    write_bytes(folder / "report.html", to_html(contents))
    return folder / "report.html"
