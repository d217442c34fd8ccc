"""The generator of a server's model, synchronous outside and asynchronous inside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from summtune.base import numbers
from summtune.base.errors import StageError
from summtune.base.numbers import counted
from summtune.generation.endpoint.asking import Asking, Exhausted
from summtune.generation.endpoint.budget import BudgetSpent
from summtune.generation.endpoint.client import Client, check_installed, quiet_libraries
from summtune.generation.endpoint.faults import Asked
from summtune.generation.endpoint.interrupts import Interrupts
from summtune.generation.endpoint.ledger import Ledger, ledger_in
from summtune.generation.endpoint.requests import Requests, new_tokens_at_most, settings_of
from summtune.generation.endpoint.sending import Sending, event_loop
from summtune.generation.generator import Outputs
from summtune.recipe.endpoint import Endpoint
from summtune.recipe.sections import Generation

P = TypeVar("P")
_ADVICE = {
    "rate limit": "set endpoint.requests_per_minute or tokens_per_minute, or lower endpoint.concurrency",
    "timeout": "raise endpoint.timeout, or lower endpoint.concurrency",
    "connection": "check that the server at endpoint.url runs and can be reached from here",
}


@dataclass(frozen=True)
class EndpointGenerator(Generic[P]):
    """Has a server answer prompts, at most ``endpoint.concurrency`` at a time, in the order in which answers come.

    Args:
        endpoint: the server, its limits and its price.
        generation: the settings.
        requests: how prompts are sent.
        seed: of the run.
        key: the API key; None where the server needs none.
        stops: texts that end a summary.
        folder: of the partial files, where the ledger of requests is kept; None keeps none.
        say: receives sentences that the user should read.
        backoff: seconds of the first wait after a fault, at most; each further one is up to twice as long.
    """

    endpoint: Endpoint
    generation: Generation
    requests: Requests[P]
    seed: int
    key: str | None = None
    stops: Sequence[str] = ()
    folder: Path | None = None
    say: Callable[[str], None] = lambda _: None
    backoff: float = 1.0

    def generate(self, prompts: Sequence[P], done: Container[int] = ()) -> Outputs:
        """Yield the outputs of the prompts that are not done; memory does not grow with their number.

        A signal that asks to stop, or an error, ends the sending. Answers to requests in flight are still yielded,
        because they are paid for. Then the signal has its usual effect, or the error is raised. A second signal ends
        it at once.

        Raises:
            InputError: the package openai is not installed.
            StageError: the server does not answer, or max_cost is reached.
        """
        check_installed()
        kept = sum(index in done for index in range(len(prompts)))
        missing = (index for index in range(len(prompts)) if index not in done)
        with quiet_libraries(), ledger_in(self.folder) as ledger:
            asking = self._asking(ledger)
            sending = Sending(asking, prompts, missing)
            with event_loop() as loop, Interrupts(lambda: loop.call_soon_threadsafe(sending.interrupt)):
                ended = asyncio.run_coroutine_threadsafe(sending.run(), loop)
                while (item := asyncio.run_coroutine_threadsafe(sending.results.get(), loop).result()) is not None:
                    if isinstance(item, str):
                        with contextlib.suppress(OSError):  # the terminal is gone after SIGHUP, the answers are not
                            self.say(item)
                    else:
                        yield item
                        kept += 1
                error = ended.result()
        if isinstance(error, (BudgetSpent, Exhausted, StageError)):
            raise StageError(
                f"{self._problem(error)}. {kept:,} of {len(prompts):,} prompts are answered and kept: the same command "
                "asks for the rest"
            )
        if error is not None:
            raise error

    def _asking(self, ledger: Ledger) -> Asking[P]:
        endpoint, generation = self.endpoint, self.generation
        settings = settings_of(endpoint.model, generation, self.seed, self.stops, endpoint.extra_body)
        url = endpoint.url.rstrip("/") + self.requests.path
        asked = Asked(url, endpoint.model, endpoint.api_key_env, generation.max_new_tokens)
        client = Client(endpoint, self.requests.path, self.key, asked)
        most = new_tokens_at_most(settings, generation)
        return Asking(client, self.requests, settings, most, endpoint, ledger, self.backoff)

    def _problem(self, error: Exception) -> str:
        """Return what ended the run, and what to do."""
        if isinstance(error, BudgetSpent):
            price, most = self.endpoint.price, self.endpoint.max_cost
            assert price is not None, "without a price nothing is spent"
            assert most is not None, "without max_cost everything may be spent"
            spent, limit, next_cost = (
                numbers.money(value, price.currency) for value in (error.spent, most, error.next_cost)
            )
            return (
                f"the next request might exceed max_cost (got {spent} spent of {limit}, and a request that costs up to "
                f"{next_cost}); raise endpoint.max_cost"
            )
        if isinstance(error, Exhausted):
            fault = error.fault
            advice = _ADVICE.get(fault.cause, "look at the server's log or status page, or raise endpoint.max_retries")
            return (
                f"the server gave no usable answer to a prompt that was sent {counted(error.tries, 'time')} (got "
                f"{fault.message}); {advice}"
            )
        return str(error)
