"""What runs on the event loop: as many tasks as there are requests at a time, which share the missing prompts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from summtune.base.numbers import counted
from summtune.generation.endpoint.asking import Asking
from summtune.generation.generator import Output

P = TypeVar("P")
DRAIN_SECONDS = 30.0
"""How long an interrupted run waits for answers; schedulers kill 30 s or more after they ask to stop."""
_END_SECONDS = 5.0


class Sending(Generic[P]):
    """Has prompts answered; its methods are called on the event loop.

    Args:
        asking: answers one prompt.
        prompts: all of them.
        missing: indices of those that are to be answered.
    """

    def __init__(self, asking: Asking[P], prompts: Sequence[P], missing: Iterator[int]) -> None:
        self._asking = asking
        asking.say = self.say
        self._prompts = prompts
        self._missing = missing
        self._tasks: list[asyncio.Task[None]] = []
        self._notes: list[asyncio.Task[None]] = []
        self._error: Exception | None = None
        self.results: asyncio.Queue[tuple[int, Output] | str | None] = asyncio.Queue(asking.endpoint.concurrency)
        """Outputs with their indices, and sentences for the user; None is the last. A slow reader slows the sending."""

    async def run(self) -> Exception | None:
        """Have the prompts answered; return what ended it before all were, None if nothing did."""
        try:
            self._tasks = [asyncio.create_task(self._work()) for _ in range(self._asking.endpoint.concurrency)]
            await asyncio.wait(self._tasks)
        finally:
            self._cut_off()
            with contextlib.suppress(Exception):  # the answers are there, and the reader waits for the end
                await self._asking.client.close()
        await self.results.put(None)
        return self._error

    def say(self, text: str) -> None:
        """Have the reader of the results pass a sentence on to the user."""
        self._notes.append(asyncio.create_task(self.results.put(text)))

    def interrupt(self) -> None:
        """Send nothing more, and wait for the answers of the requests in flight, though not for long."""
        if self._asking.stopped:
            return
        self._stop()
        if self._asking.paid:
            in_flight = counted(len(self._asking.paid), "request")
            self.say(
                f"waiting up to {DRAIN_SECONDS:.0f} s for the answers to {in_flight} in flight, which are paid for; "
                "interrupt again to end at once"
            )
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._cut_off)

    async def _work(self) -> None:
        for index in self._missing:
            try:
                output = await self._asking.answer(self._prompts[index])
            except Exception as error:  # also one of a bug, so that nothing more is paid for
                if not self._asking.stopped:
                    self._error = error
                    self._stop()
                return
            await self.results.put((index, output))
            self._asking.paid.discard(asyncio.current_task())
            if self._asking.stopped:
                return

    def _stop(self) -> None:
        self._asking.stopped = True
        for task in self._tasks:
            if task not in self._asking.paid:
                task.cancel()

    def _cut_off(self) -> None:
        for task in self._tasks:
            task.cancel()


@contextlib.contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield an event loop that runs in a thread until the block ends, also where this thread has one (a notebook)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="endpoint", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        with contextlib.suppress(concurrent.futures.TimeoutError):  # not the builtin one before Python 3.11
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(_END_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_END_SECONDS)
        if not thread.is_alive():
            loop.close()


async def _cancel_all() -> None:
    others: list[asyncio.Task[Any]] = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
