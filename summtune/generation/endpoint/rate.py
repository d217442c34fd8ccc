"""How fast requests are sent: the recipe's limits per minute, and the pauses that the server asks for."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass


@dataclass(eq=False)
class Taken:
    """A share of a limit: when it was taken, in seconds of the event loop's clock, and how much."""

    at: float
    amount: int


class RollingLimit:
    """At most so much within any window of time. A leaky bucket would let twice as much pass in its first minute.

    Args:
        most: within a window; None for no limit.
        seconds: the length of the window.
    """

    def __init__(self, most: int | None, seconds: float = 60.0) -> None:
        self.most = most
        self.seconds = seconds
        self._taken: deque[Taken] = deque()
        self._within = 0
        self._turn = asyncio.Lock()

    async def take(self, amount: int) -> Taken:
        """Wait until ``amount`` fits, in the order of the calls, and return it; more than the limit fits when alone."""
        clock = asyncio.get_running_loop().time
        if self.most is None:
            return Taken(clock(), amount)
        async with self._turn:
            amount = min(amount, self.most)
            while self._forget(clock()) + amount > self.most:
                await asyncio.sleep(self._taken[0].at + self.seconds - clock())
            taken = Taken(clock(), amount)
            self._taken.append(taken)
            self._within += amount
        return taken

    def correct(self, taken: Taken, amount: int) -> None:
        """Replace what was taken by what it was in fact, while it is in the window."""
        if taken in self._taken:
            self._within += amount - taken.amount
            taken.amount = amount

    def _forget(self, now: float) -> int:
        """Return how much was taken within the window that ends now."""
        while self._taken and self._taken[0].at + self.seconds <= now:
            self._within -= self._taken.popleft().amount
        return self._within


class Pause:
    """The time until which no request is sent, because the server asked for it (``Retry-After``)."""

    def __init__(self) -> None:
        self._until = 0.0

    def extend(self, seconds: float) -> bool:
        """Send nothing for so many seconds from now, or longer if that was asked for; return whether it began now."""
        now = asyncio.get_running_loop().time()
        begins = self._until <= now
        self._until = max(self._until, now + seconds)
        return begins

    async def over(self) -> None:
        """Wait until the pause is over; then requests start again within a second, not all at once."""
        clock = asyncio.get_running_loop().time
        if self._until <= clock():
            return
        while (left := self._until - clock()) > 0:
            await asyncio.sleep(left + random.uniform(0, min(1.0, left)))
