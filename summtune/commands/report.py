"""The command ``report``: regenerates the report of a finished run or comparison."""

from __future__ import annotations

from pathlib import Path

from summtune.base.errors import RunDirectoryError
from summtune.base.files import write_bytes
from summtune.base.printing import show
from summtune.base.strict import read_model
from summtune.runs.comparison import COMPARISON_FILE, Comparison


def write_report(run_dir: Path, png: Path | None) -> None:
    """Regenerate the report of a run or comparison, write its chart to ``png`` if given, and print their paths.

    Raises:
        RunDirectoryError: the directory is not that of a run.
    """
    from summtune.report import write_compare_report, write_run_report

    if not (run_dir / "plan.json").is_file():
        raise RunDirectoryError(f"not a run directory (got {run_dir}, without plan.json); name a finished run")
    compared = (run_dir / COMPARISON_FILE).is_file()
    show(str(write_compare_report(run_dir) if compared else write_run_report(run_dir)))
    if png is not None:
        write_bytes(png, _chart(run_dir))
        show(str(png))


def _chart(run_dir: Path) -> bytes:
    from summtune.report.chart import scores_png
    from summtune.runs.finished import read_run

    if (run_dir / COMPARISON_FILE).is_file():
        comparison = read_model(Comparison, run_dir / COMPARISON_FILE)
        return scores_png(comparison.systems, floor=comparison.floor, ceiling=comparison.ceiling)
    run = read_run(run_dir)
    return scores_png([run.compared()], floor=run.scores.floor, ceiling=run.scores.ceiling)
