"""Has a server answer one prompt: limits and budget first, then the request, and again after a fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from summtune.base.errors import StageError
from summtune.base.numbers import duration
from summtune.generation.endpoint.budget import Budget
from summtune.generation.endpoint.client import Client
from summtune.generation.endpoint.faults import Fault, Filtered
from summtune.generation.endpoint.ledger import ANSWERED, INTERRUPTED, NOTHING, REFUSED, Ledger, Tokens
from summtune.generation.endpoint.parsing import filtered, output_of
from summtune.generation.endpoint.rate import Pause, RollingLimit
from summtune.generation.endpoint.requests import Requests
from summtune.generation.generator import Output
from summtune.recipe.endpoint import Endpoint

P = TypeVar("P")
_LONGEST_BACKOFF = 60.0
_WORTH_SAYING = 30.0
"""Seconds of a wait that the user should know of."""


class Exhausted(Exception):  # noqa: N818, the caller says what was kept
    """A request got no usable answer as often as it may be sent.

    Args:
        fault: the last one.
        tries: how often it was sent.
    """

    def __init__(self, fault: Fault, tries: int) -> None:
        self.fault = fault
        self.tries = tries
        super().__init__(fault, tries)


@dataclass
class Asking(Generic[P]):
    """Answers prompts, one a call; calls run concurrently on one event loop.

    Args:
        client: of the server.
        requests: how prompts are sent.
        settings: the fields that all requests share.
        new_tokens: that the server may generate for a request, over all its choices.
        endpoint: the limits.
        ledger: of the run's requests.
        backoff: seconds of the first wait after a fault, at most; each further one is twice as long.
        say: receives sentences that the user should read.
    """

    client: Client
    requests: Requests[P]
    settings: dict[str, Any]
    new_tokens: int
    endpoint: Endpoint
    ledger: Ledger
    backoff: float = 1.0
    say: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.stopped = False
        """Whether nothing more is sent."""
        self.paid: set[asyncio.Task[Any] | None] = set()
        """Tasks whose request was sent: they are not cancelled, because its answer is paid for."""
        self._requests_limit = RollingLimit(self.endpoint.requests_per_minute)
        self._tokens_limit = RollingLimit(self.endpoint.tokens_per_minute)
        self._budget = Budget(self.endpoint.price, self.endpoint.max_cost, self.ledger.charged)
        self._pause = Pause()
        self._seen: set[str] = set()

    async def answer(self, prompt: P) -> Output:
        """Return the output for a prompt. The task is one of those that are ``paid`` then.

        Raises:
            BudgetSpent: asking might exceed max_cost.
            Exhausted: the server does not answer, or nothing more is sent.
            StageError: it never will.
        """
        from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
        from tenacity.wait import wait_random_exponential

        backoff = wait_random_exponential(multiplier=self.backoff, max=_LONGEST_BACKOFF)

        def enough(state: RetryCallState) -> bool:
            return self.stopped or state.attempt_number > self.endpoint.max_retries

        def wait(state: RetryCallState) -> float:
            fault = state.outcome.exception() if state.outcome else None
            return 0.0 if isinstance(fault, Fault) and fault.wait else backoff(state)  # 0: `_pause` holds all back

        tries = 0
        try:
            async for attempt in AsyncRetrying(
                stop=enough, wait=wait, retry=retry_if_exception_type(Fault), reraise=True
            ):
                with attempt:
                    tries += 1
                    return await self._try(prompt, tries)
        except Fault as fault:
            last = fault
        raise Exhausted(last, tries)

    async def _try(self, prompt: P, number: int) -> Output:
        """Send the request once, as soon as the limits and the budget allow it."""
        at_most = Tokens(self.requests.tokens_at_most(prompt), self.new_tokens)
        await self._requests_limit.take(1)
        taken = await self._tokens_limit.take(self.requests.tokens(prompt) + self.new_tokens)
        await self._budget.reserve(at_most)
        charged = NOTHING
        try:
            await self._pause.over()
            request, how = self.ledger.send(at_most), INTERRUPTED
            charged = at_most  # of a request that is cancelled, and whose answer nobody reads
            self.paid.add(asyncio.current_task())
            try:
                output = await self._send(prompt, number)
                how, charged = ANSWERED, _charged(output, at_most)
                self._tokens_limit.correct(taken, sum(charged))
                return output
            except Fault as fault:
                how, charged = fault.cause, at_most if fault.charged else NOTHING
                self.paid.discard(asyncio.current_task())
                self._wait_for(fault)
                raise
            except StageError:
                how, charged = REFUSED, NOTHING
                raise
            finally:
                self.ledger.end(request, how, charged)
        finally:
            await self._budget.settle(at_most, charged)

    async def _send(self, prompt: P, number: int) -> Output:
        began = time.perf_counter()
        try:
            body = await self.client.post({**self.settings, **self.requests.fields(prompt)})
            return output_of(
                body,
                opened=self.requests.opens_thought(prompt),
                requests=number,
                seconds=time.perf_counter() - began,
                secret=self.client.secret,
                asked=self.client.asked,
            )
        except Filtered as withheld:
            return filtered(withheld.reason, number, time.perf_counter() - began)

    def _wait_for(self, fault: Fault) -> None:
        """Hold all requests back for as long as the server asks."""
        begins = bool(fault.wait) and self._pause.extend(fault.wait or 0.0)
        if fault.wait and begins and fault.wait >= _WORTH_SAYING:
            self.say(f"the server asks to wait {duration(fault.wait)} (got {fault.message})")
        elif fault.cause not in self._seen and self.endpoint.max_retries:
            self.say(f"a request got no usable answer and is sent again (got {fault.message}); others are counted")
        self._seen.add(fault.cause)


def _charged(output: Output, at_most: Tokens) -> Tokens:
    """Return the tokens that the server counted for an answer; at most those where it does not count."""
    usage = output.answer.usage if output.answer else None
    return Tokens(usage.prompt_tokens, usage.new_tokens) if usage else at_most
