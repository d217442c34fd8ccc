"""How a worker ends upon SIGTERM or SIGUSR1: at once where nothing would be lost, else when what it has is saved."""

from __future__ import annotations

import os
import signal
from typing import Any

GO_ON_LATER = 75  # EX_TEMPFAIL of sysexits.h: the same command resumes
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818, not an error
    """Everything is saved, and this process ends because a signal asked for it."""


class StopRequest:
    """Whether this process has been asked to stop.

    Until `hold` is called a signal ends the process at once, with `GO_ON_LATER`.
    """

    def __init__(self) -> None:
        self.asked = False
        self._held = False

    def listen(self) -> None:
        """Let SIGTERM and SIGUSR1 ask; SIGINT ends the process at once, also while it waits for another rank."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def hold(self) -> None:
        """From now on there is something to lose: a signal is written down only, and whoever works on looks at it."""
        self._held = True

    def release(self) -> None:
        """What there was to lose is saved."""
        self._held = False

    def _on_signal(self, *_: Any) -> None:
        self.asked = True
        if not self._held:
            os._exit(GO_ON_LATER)
