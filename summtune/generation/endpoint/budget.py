"""The money of a run: bounded before a request is sent, so that max_cost is never exceeded."""

from __future__ import annotations

import asyncio

from summtune.generation.endpoint.ledger import Tokens
from summtune.recipe.endpoint import TokenPrice


class BudgetSpent(Exception):  # noqa: N818, nothing went wrong
    """The next request might cost more than is left.

    Args:
        spent: money so far.
        next_cost: money that the next request costs at most.
    """

    def __init__(self, spent: float, next_cost: float) -> None:
        self.spent = spent
        self.next_cost = next_cost
        super().__init__(spent, next_cost)


def cost_of(tokens: Tokens, price: TokenPrice) -> float:
    """Return what tokens cost, in the price's currency; tokens in the server's cache at the full price."""
    return (tokens.prompt * price.input + tokens.new * price.output) / 1e6


class Budget:
    """What is spent, and what the requests in flight cost at most.

    Args:
        price: of tokens; None where it is not known, which counts nothing.
        most: ``endpoint.max_cost``; None for no limit.
        spent: tokens that earlier attempts of the run may have been charged for.
    """

    def __init__(self, price: TokenPrice | None, most: float | None, spent: Tokens) -> None:
        self.price = price
        self.most = most
        self.spent = self.cost(spent)
        self.reserved = 0.0
        self._in_flight = 0
        self._changed = asyncio.Condition()

    def cost(self, tokens: Tokens) -> float:
        """Return what tokens cost; 0 without a price."""
        return 0.0 if self.price is None else cost_of(tokens, self.price)

    async def reserve(self, at_most: Tokens) -> None:
        """Set aside what a request costs at most; wait while the requests in flight may leave enough for it.

        Raises:
            BudgetSpent: nothing is in flight, and what is left may not be enough.
        """
        cost = self.cost(at_most)
        async with self._changed:
            while self.most is not None and self.spent + self.reserved + cost > self.most:
                if not self._in_flight:
                    raise BudgetSpent(self.spent, cost)
                await self._changed.wait()
            self.reserved += cost
            self._in_flight += 1

    async def settle(self, at_most: Tokens, charged: Tokens) -> None:
        """Replace what was set aside for a request by what it cost."""
        async with self._changed:
            self._in_flight -= 1
            self.reserved = self.reserved - self.cost(at_most) if self._in_flight else 0.0
            self.spent += self.cost(charged)
            self._changed.notify_all()
