"""Signals while requests are in flight: the first one waits for their answers, which are paid for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Interrupts:
    """Holds back the first signal that asks to stop until the block ends; a second one ends the block at once.

    Each has the effect that it would have had: an exception of the command, or the end of a worker. In a thread other
    than the main one, Python delivers no signals, and this does nothing. A signal that is ignored, as SIGHUP is under
    nohup, stays ignored.

    Args:
        first: called at the first signal; returns at once.
    """

    def __init__(self, first: Callable[[], object]) -> None:
        self._first = first
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._on_signal) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        if kind is None and self._asked is not None:
            signal.raise_signal(self._asked)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._asked is not None:
            self._restore()
            signal.raise_signal(number)
            return
        self._asked = number
        self._first()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
