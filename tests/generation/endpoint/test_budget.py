import asyncio

import pytest

from summtune.generation.endpoint.budget import Budget, BudgetSpent
from summtune.generation.endpoint.ledger import NOTHING, Tokens
from summtune.recipe.endpoint import TokenPrice

PRICE = TokenPrice(input=5e5, output=1e6)  # 0.5 for a token of a prompt, 1 for a new one
TEN = Tokens(4, 3)


def test_requests_wait_for_what_those_in_flight_leave_and_end_where_it_is_not_enough():
    async def run():
        budget = Budget(PRICE, 13, Tokens(1, 1))  # 1.5 are spent
        await budget.reserve(TEN)
        await budget.reserve(TEN)
        third = asyncio.create_task(budget.reserve(TEN))
        await asyncio.sleep(0.01)
        assert not third.done()
        await budget.settle(TEN, Tokens(1, 1))
        await asyncio.wait_for(third, 1)  # 1.5 + 1.5 + 5 in flight + 5
        await budget.settle(TEN, TEN)
        await budget.settle(TEN, Tokens(2, 0))
        assert budget.spent == 9
        with pytest.raises(BudgetSpent) as caught:
            await budget.reserve(TEN)
        return caught.value

    spent = asyncio.run(run())
    assert (spent.spent, spent.next_cost) == (9, 5)


def test_it_is_never_exceeded_by_any_order_of_requests():
    async def request(budget, number, highest):
        try:
            await budget.reserve(TEN)
        except BudgetSpent:
            return
        highest.append(budget.spent + budget.reserved)
        await asyncio.sleep(number % 3 / 1000)
        await budget.settle(TEN, Tokens(4, number % 4))

    async def run():
        budget, highest = Budget(PRICE, 38, NOTHING), []
        await asyncio.gather(*(request(budget, number, highest) for number in range(100)))
        return budget.spent, max(highest)

    spent, highest = asyncio.run(run())
    assert highest <= 38
    assert spent > 38 - 5


def test_without_a_price_nothing_is_counted():
    async def run():
        budget = Budget(None, None, TEN)
        await budget.reserve(TEN)
        await budget.settle(TEN, TEN)
        return budget.spent

    assert asyncio.run(run()) == 0
