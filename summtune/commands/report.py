"""The command ``report``: writes the report of a finished run again."""

from __future__ import annotations

from pathlib import Path

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json, write_bytes
from summtune.base.printing import show
from summtune.commands.results import systems_shown
from summtune.runs.run_directory import as_written


def write_report(run_dir: Path, png: Path | None) -> None:
    """Write the report of a run or a comparison again, and its chart as a picture, and print where they are."""
    from summtune.report import write_compare_report, write_run_report
    from summtune.report.chart import scores_png

    if not (run_dir / "plan.json").is_file():
        raise RunDirectoryError(f"not a run directory (got {run_dir}); it has no plan.json")
    with as_written(run_dir):
        compared = (run_dir / "comparison.json").is_file()
        show(str(write_compare_report(run_dir) if compared else write_run_report(run_dir)))
        if png is not None:
            scored = read_json(run_dir / ("comparison.json" if compared else "metrics.json"))
            write_bytes(
                png, scores_png(systems_shown(run_dir), floor=scored.get("floor"), ceiling=scored.get("ceiling"))
            )
            show(str(png))
