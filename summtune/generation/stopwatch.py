"""The time that a prediction takes over all its attempts, which a kill does not erase."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from summtune.base.files import write_json
from summtune.base.strict import Measure, StrictModel, read_model

TIME_FILE = "time.json"
_KEPT_EVERY = 1.0  # seconds


class Spent(StrictModel):
    """The time of all attempts so far; ``time.json`` next to the partial files.

    Args:
        seconds: of each attempt from its start to its last output.
        device_seconds: that it generated, times its devices. Loading the model is not part of it: that is done once for
            any number of dialogues, and would make few of them look dear.
    """

    seconds: Measure = 0.0
    device_seconds: Measure = 0.0


class Stopwatch:
    """Measures this attempt at a prediction, and adds it to those before.

    Args:
        folder: of the partial files, which may not exist yet.
        devices: that this attempt holds: its processes, each on a GPU or on the CPU, or the GPUs of a server that the
            run starts; 0 for a server of somebody else.
        clock: returns seconds.

    Raises:
        RunDirectoryError: what an earlier attempt kept is damaged.
    """

    def __init__(self, folder: Path, devices: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._started = self._kept_at = clock()
        self._generating_since: float | None = None
        self._file, self._devices, self._clock = folder / TIME_FILE, devices, clock
        self._before = read_model(Spent, self._file) if self._file.exists() else Spent()

    def begin_generation(self) -> None:
        """Count device-seconds from now on."""
        self._generating_since = self._clock()

    def spent(self) -> Spent:
        """Return the time of all attempts until now."""
        now = self._clock()
        generated = 0.0 if self._generating_since is None else now - self._generating_since
        return Spent(
            seconds=round(self._before.seconds + now - self._started, 2),
            device_seconds=round(self._before.device_seconds + generated * self._devices, 2),
        )

    def keep(self) -> None:
        """Write the time until now, for a next attempt, unless that was done within the last second."""
        now = self._clock()
        if now - self._kept_at >= _KEPT_EVERY:
            self._kept_at = now
            write_json(self._file, self.spent().to_json())
