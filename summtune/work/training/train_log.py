"""Writes train_log.jsonl: one object per logged step, continued after interruptions."""

from __future__ import annotations

import contextlib
import json
import statistics
from pathlib import Path

from summtune.base.files import write_text
from summtune.runs.statistics import TrainLogRow


class TrainLog:
    """Appends rows to train_log.jsonl.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int) -> None:
        """Drop the rows after ``step``, which a resumed training writes again, and a line that a kill truncated."""
        lines = []
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if row["step"] <= step:
                        lines.append(line)
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def mean_loss(self) -> float | None:
        """Return the mean of the logged losses, before and after any interruption; None if none was logged."""
        rows = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        losses = [row["loss"] for row in rows if "loss" in row]
        return statistics.fmean(losses) if losses else None

    def append(self, row: TrainLogRow) -> None:
        """Add one row; it is written to the file before this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row.to_json()) + "\n")
