"""The display of a smoke run: shows what a run shows, once, and measures how long Slurm lets it wait."""

from __future__ import annotations

import time
from typing import Any

from summtune.commands.pipeline import Display
from summtune.launchers.local import Listener


class SmokeDisplay:
    """Shows the progress of a smoke run, whose command starts the workers more than once.

    Args:
        shown: the display of a run.
        in_jobs: whether workers run in Slurm jobs.
    """

    def __init__(self, shown: Display, in_jobs: bool) -> None:
        self.shown = shown
        self.in_jobs = in_jobs
        self.waited = 0.0
        """Seconds that jobs were in the queue, their start included."""
        self._last_sign = time.monotonic()
        self._current = ""
        self._said: set[tuple[str, str]] = set()

    @property
    def listener(self) -> Listener:
        """The function that receives the events of worker processes."""
        return self._listen

    def stage(self, name: str, text: str, *, shows_itself: bool = False) -> None:
        """Show a stage that begins; not one that was complete before the pause, nor the reading of the short data."""
        self._current = name
        self._last_sign = time.monotonic()
        repeated = name == "data" or text == "already complete" or (name, text) in self._said
        if text.startswith("system "):
            self._said.add((name, text))
        if not repeated:
            self.shown.stage(name, text, shows_itself=shows_itself)

    def systems(self, done: int, total: int) -> None:
        """Show how many systems of a comparison are complete."""
        self.shown.systems(done, total)

    def warn(self, text: str) -> None:
        """Show a warning; what the short data lacks was reported, as far as it matters, of the whole data."""
        if self._current != "data":
            self.shown.warn(text)

    def _listen(self, event: dict[str, Any]) -> None:
        if event["stage"] != "slurm":
            now = time.monotonic()
            if self.in_jobs and event["event"] == "started":
                self.waited += now - self._last_sign
            self._last_sign = now
        self.shown.listener(event)
