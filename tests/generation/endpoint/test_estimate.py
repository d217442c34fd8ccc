import pytest
from endpoint_runs import endpoint, messages

from summtune.generation.endpoint.estimate import estimate
from summtune.generation.endpoint.requests import ChatRequests
from summtune.recipe.endpoint import TokenPrice
from summtune.recipe.sections import Generation


def test_tokens_and_money_count_each_distinct_prompt_once():
    prompts = [messages("a" * 392), messages("b" * 392), messages("a" * 392)]
    server = endpoint("http://localhost:1/v1", price=TokenPrice(input=10, output=100, currency="EUR"))
    found = estimate(prompts, ChatRequests(), server, Generation(max_new_tokens=50))
    assert (found.prompts, found.prompt_tokens, found.new_tokens_at_most) == (2, 2 * (4 + 2 + 4 + 98), 100)
    assert found.cost == pytest.approx((216 * 10 + 100 * 100) / 1e6)
    assert found.cost_at_most == pytest.approx((found.prompt_tokens_at_most * 10 + 100 * 100) / 1e6)
    assert found.cost_at_most > found.cost
    assert found.currency == "EUR"


def test_without_a_price_there_is_no_money():
    found = estimate([messages("a")], ChatRequests(), endpoint("http://localhost:1/v1"), Generation())
    assert found.cost is found.cost_at_most is found.currency is None
