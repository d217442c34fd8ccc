"""Writes train_log.jsonl: one object per logged step, continued after interruptions."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterator
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


class Stopwatch:
    """Measures the rate of the steps since the last line of the log, without what pauses it."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin again."""
        self._since = time.perf_counter()
        self._pairs = self._tokens = 0

    def count(self, pairs: int, tokens: int) -> None:
        """Count the pairs and tokens of a step."""
        self._pairs += pairs
        self._tokens += tokens

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of an evaluation or a checkpoint."""
        stopped = time.perf_counter()
        yield
        self._since += time.perf_counter() - stopped

    def rates(self) -> dict[str, float]:
        """Return the pairs and tokens a second, as `TrainLogRow` names them."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        return {
            "samples_per_second": round(self._pairs / seconds, 3),
            "tokens_per_second": round(self._tokens / seconds, 1),
        }
