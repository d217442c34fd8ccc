"""Decides how a worker ends upon SIGTERM or SIGUSR1: at once if nothing would be lost, else once its work is saved."""

from __future__ import annotations

import os
import signal
from typing import Any

RESUME_LATER = 75  # EX_TEMPFAIL of sysexits.h: the same command resumes
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818, not an error
    """Everything is saved, and the process ends because a signal asked it to."""


class StopRequest:
    """Whether this process has been asked to stop.

    Until `hold` is called a signal ends the process at once, with `RESUME_LATER`.
    """

    def __init__(self) -> None:
        self.asked = False
        self._held = False

    def listen(self) -> None:
        """Handle SIGTERM and SIGUSR1; SIGINT ends the process at once, even while it waits for another rank."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def hold(self) -> None:
        """From now on there is unsaved work: a signal is only recorded in ``asked``, which the stage checks."""
        self._held = True

    def release(self) -> None:
        """The work is saved: a signal ends the process at once again."""
        self._held = False

    def _on_signal(self, *_: Any) -> None:
        self.asked = True
        if not self._held:
            os._exit(RESUME_LATER)
