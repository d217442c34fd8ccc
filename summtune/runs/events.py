"""Events that a worker reports to the command that started it: JSON lines in the run directory.

A file needs no open connection, outlives both processes, and can be read afterwards.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

Part = Literal["checkpoint", "evaluation", "generation"]
"""What a worker reports the duration of."""


class Events:
    """Appends events to ``logs/events.jsonl``; only the first rank does so, except for errors.

    Args:
        run_dir: the run directory.
        stage: the stage that reports.
        rank: rank of this process.
    """

    def __init__(self, run_dir: Path, stage: str, rank: int) -> None:
        self.path = events_file(run_dir)
        self.stage = stage
        self.rank = rank

    def started(self) -> None:
        """Report that the processes have started and the stage begins."""
        self._emit("started")

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Report that ``done`` of ``total`` units of the stage are done."""
        self._emit("progress", done=done, total=total, text=text)

    def say(self, text: str) -> None:
        """Report something that the user should read once."""
        self._emit("message", text=text)

    def warn(self, text: str) -> None:
        """Report something that the user should act on."""
        self._emit("warning", text=text)

    @contextlib.contextmanager
    def timed(self, what: Part) -> Iterator[None]:
        """Report how long the block took, a part of the stage, for the forecast of a smoke run."""
        began = time.perf_counter()
        yield
        self.took(what, time.perf_counter() - began)

    def took(self, what: Part, seconds: float) -> None:
        """Report how long a part of the stage took."""
        self._emit("took", what=what, seconds=round(seconds, 3))

    def error(self, text: str, expected: bool, exit_code: int = 1) -> None:
        """Report why this rank ends.

        Args:
            text: what is wrong.
            expected: whether the message is written for the user.
            exit_code: of the command that waits: 2 if the recipe or the data is wrong.
        """
        self._emit("error", text=text, expected=expected, exit_code=exit_code, always=True)

    def finished(self) -> None:
        """Report that the stage's outputs are written."""
        self._emit("finished")

    def _emit(self, event: str, always: bool = False, **fields: Any) -> None:
        if self.rank != 0 and not always:
            return
        line = json.dumps({"event": event, "stage": self.stage, "rank": self.rank, **fields}) + "\n"
        # One write of one short line: lines of several ranks do not mix. On a full disk, nothing can be reported.
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(line)


def events_file(run_dir: Path) -> Path:
    """Return the path of the events file of a run."""
    return run_dir / "logs" / "events.jsonl"


class EventReader:
    """Reads the events that were added since the last call.

    Args:
        run_dir: the run directory.
        start: where to start, in bytes; None skips what is already in the events file.
    """

    def __init__(self, run_dir: Path, start: int | None = None) -> None:
        self.path = events_file(run_dir)
        there = self.path.stat().st_size if self.path.exists() else 0
        self.offset = there if start is None else min(start, there)

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the events written since the last call; an incomplete line is left for the next call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                event: Any = None
                with contextlib.suppress(ValueError, RecursionError):  # two machines wrote at once on a shared disk
                    event = json.loads(line)
                if isinstance(event, dict):
                    yield event
