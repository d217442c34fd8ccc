"""What the prompts of a run will cost, before any is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from summtune.generation.distinct import DistinctPrompts
from summtune.generation.endpoint.budget import cost_of
from summtune.generation.endpoint.ledger import Tokens
from summtune.generation.endpoint.requests import Requests, new_tokens_at_most, settings_of
from summtune.recipe.endpoint import Endpoint
from summtune.recipe.sections import Generation

P = TypeVar("P")


@dataclass(frozen=True)
class Estimate:
    """Tokens and money of a run.

    Args:
        prompts: distinct ones, each sent once.
        prompt_tokens: about how many: a token for four characters, four for each message.
        prompt_tokens_at_most: a token for each byte, and room for the chat template.
        new_tokens_at_most: what ``max_new_tokens`` allows.
        cost: money for ``prompt_tokens`` and ``new_tokens_at_most``; None without a price.
        cost_at_most: money for both upper bounds; a request that is sent again may add to it. None without a price.
        currency: of both; None without a price.
    """

    prompts: int
    prompt_tokens: int
    prompt_tokens_at_most: int
    new_tokens_at_most: int
    cost: float | None
    cost_at_most: float | None
    currency: str | None


def estimate(prompts: Iterable[P], requests: Requests[P], endpoint: Endpoint, generation: Generation) -> Estimate:
    """Return what answers to the prompts cost about, and at most.

    Args:
        prompts: of all test dialogues.
        requests: how they are sent.
        endpoint: the server and its price.
        generation: the settings.
    """
    distinct = DistinctPrompts.of(prompts).prompts
    settings = settings_of(endpoint.model, generation, 0, (), endpoint.extra_body)
    new = len(distinct) * new_tokens_at_most(settings, generation)
    about, most = sum(map(requests.tokens, distinct)), sum(map(requests.tokens_at_most, distinct))
    price = endpoint.price
    return Estimate(
        prompts=len(distinct),
        prompt_tokens=about,
        prompt_tokens_at_most=most,
        new_tokens_at_most=new,
        cost=None if price is None else cost_of(Tokens(about, new), price),
        cost_at_most=None if price is None else cost_of(Tokens(most, new), price),
        currency=None if price is None else price.currency,
    )
