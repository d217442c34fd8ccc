"""One request to a server through the package openai: the body of the answer, a fault, or an error."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from summtune.base.errors import InputError, StageError
from summtune.generation.endpoint.faults import Asked, Fault, message_of, of_connection, of_status
from summtune.generation.endpoint.secrecy import Secret
from summtune.recipe.endpoint import Endpoint

if TYPE_CHECKING:
    import openai

_LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")
_NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "h11", "anyio", "ssl")
"""Packages whose exceptions the package openai does not always replace by its own."""
_LISTED_MODELS = 8
_LISTING_SECONDS = 10.0


def check_installed() -> None:
    """Check that the packages of the extra ``endpoint`` are installed.

    Raises:
        InputError: one is not.
    """
    for name in ("openai", "tenacity"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"a model behind a server needs a package that is not installed (got no {name}); "
                "run pip install 'summtune[endpoint]'"
            )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within the block, the libraries below do not log requests: at their most detailed level they log headers."""
    import openai  # noqa: F401, its import sets the levels that OPENAI_LOG names

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class Client:
    """Sends requests to one server; to be made and used in the thread of one event loop.

    Proxies and certificates are those that the environment names, as the package reads them.

    Args:
        endpoint: the server.
        path: where requests are sent, below its address.
        key: the API key; None sends none, whichever the environment holds.
        asked: what messages say of a request.

    Raises:
        StageError: the address, or a proxy that the environment names, cannot be used.
    """

    def __init__(self, endpoint: Endpoint, path: str, key: str | None, asked: Asked) -> None:
        self.asked = asked
        self.secret = Secret(key)
        self._path = path
        self._timeout = endpoint.timeout
        # The package would send prompts wherever a server redirects them.
        self._options: Any = {"headers": _headers(key, os.environ), "follow_redirects": False}
        error: Exception | None = None
        try:
            self._openai = _openai(endpoint, key)
        except Exception as raised:
            error = raised
        if error is not None:  # outside, so that no exception keeps the key
            raise of_connection("InvalidURL", self._hidden(error), asked)

    async def post(self, body: dict[str, Any]) -> str:
        """Return the body of the answer to a request.

        Raises:
            Fault: there is none, and the request can be sent again.
            Filtered: the server's content filter withheld the prompt.
            StageError: there is none, and there will be none.
        """
        try:
            request = self._openai.post(self._path, cast_to=str, body=body, options=self._options)
            return await asyncio.wait_for(request, self._timeout)
        except Exception as error:
            status, failure = getattr(error, "status_code", None), self._meaning(error)
        if status == 404:
            failure = StageError(f"{failure}; {await self._way_out()}")
        raise failure  # outside, as above

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    def _meaning(self, error: Exception) -> Exception:
        import openai

        if isinstance(error, openai.APIStatusError):
            said, code = message_of(error.body if error.body is not None else error.message)
            headers = {name.lower(): self.secret.hidden(value) for name, value in error.response.headers.items()}
            return of_status(error.status_code, headers, self.secret.hidden(said), code, self.asked)
        if isinstance(error, asyncio.TimeoutError):
            return Fault("timeout", f"no answer within {self._timeout:g} s", charged=True)
        if isinstance(error, openai.APIConnectionError):
            error = error.__cause__ if isinstance(error.__cause__, Exception) else error
        elif type(error).__module__.partition(".")[0] not in _NETWORK:
            return StageError(f"the request failed (got {type(error).__name__}: {self._hidden(error)}); report it")
        return of_connection(type(error).__name__, self._hidden(error), self.asked)

    def _hidden(self, error: BaseException) -> str:
        return self.secret.hidden(" ".join(str(error).split())[:300] or type(error).__name__)

    async def _way_out(self) -> str:
        """Return what to do where the server has no such model or address."""
        names: list[str] = []
        with contextlib.suppress(Exception):
            listing = self._openai.get("/models", cast_to=str, options=self._options)
            found = json.loads(await asyncio.wait_for(listing, min(self._timeout, _LISTING_SECONDS)))
            names = sorted(self.secret.hidden(model["id"]) for model in found["data"])
        if not names or self.asked.model in names:
            return "correct endpoint.url, which most servers have end in /v1, or endpoint.model"
        others = f" and {len(names) - _LISTED_MODELS} more" if len(names) > _LISTED_MODELS else ""
        return f"set endpoint.model to a model of the server: {', '.join(names[:_LISTED_MODELS])}{others}"


def _headers(key: str | None, environment: Mapping[str, str]) -> dict[str, object]:
    """Return headers with which the package sends the key, and nothing that the environment says of an account.

    It would send OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_CUSTOM_HEADERS, and without a key OPENAI_API_KEY to any
    server.
    """
    import openai

    named = [line.partition(":")[0].strip() for line in environment.get("OPENAI_CUSTOM_HEADERS", "").split("\n")]
    unsent = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project", *filter(None, named)), openai.Omit())
    return {**unsent, "Authorization": f"Bearer {key}" if key else openai.Omit()}


def _openai(endpoint: Endpoint, key: str | None) -> openai.AsyncOpenAI:
    import openai

    return openai.AsyncOpenAI(
        base_url=endpoint.url,
        api_key=key or "none",
        timeout=endpoint.timeout,
        max_retries=0,  # its own retries ignore long waits that the server asks for, and are not counted
    )
