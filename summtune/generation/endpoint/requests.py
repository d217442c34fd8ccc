"""The two kinds of requests that a server answers: chat messages, and token ids to be continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from summtune.recipe.sections import Generation

P_contra = TypeVar("P_contra", contravariant=True)
Messages = Sequence[Mapping[str, Any]]
"""Chat messages: ``{"role": ..., "content": ...}`` each."""

_FRAME_TOKENS = 64
"""At most so many tokens does a chat template write around the messages, a default system prompt included."""
_MESSAGE_TOKENS = 16
"""At most so many around each message."""
_MOST_NEW_TOKENS = 10**9
"""No model generates more, so a higher limit does not raise the bound."""


class Requests(Protocol[P_contra]):
    """How prompts of one type are sent."""

    @property
    def path(self) -> str:
        """Where requests are sent, below the server's address."""
        ...

    def fields(self, prompt: P_contra) -> dict[str, Any]:
        """Return the fields of a request that hold the prompt."""
        ...

    def tokens(self, prompt: P_contra) -> int:
        """Return about how many tokens the prompt has."""
        ...

    def tokens_at_most(self, prompt: P_contra) -> int:
        """Return an upper bound of the tokens that the server can count for the prompt."""
        ...

    def opens_thought(self, prompt: P_contra, /) -> bool:
        """Return whether the prompt ends inside a thought, so that the answer begins there."""
        ...


class ChatRequests:
    """Chat messages, to which the server applies its chat template."""

    path = "/chat/completions"

    def fields(self, prompt: Messages) -> dict[str, Any]:
        """Return the messages."""
        return {"messages": [dict(message) for message in prompt]}

    def tokens(self, prompt: Messages) -> int:
        """Return the characters divided by four, the usual ratio of English, and four tokens for each message."""
        return sum(4 + len(_text(message)) // 4 for message in prompt)

    def tokens_at_most(self, prompt: Messages) -> int:
        """Return the bytes of the texts, as no tokenizer of bytes makes more tokens, and room for the template."""
        return _FRAME_TOKENS + sum(_MESSAGE_TOKENS + len(_text(message).encode()) for message in prompt)

    def opens_thought(self, _: Messages, /) -> bool:
        """Return False: the server's template begins the answer."""
        return False


@dataclass(frozen=True)
class TokenRequests:
    """Token ids, which the server continues as they are.

    Args:
        ends_in_thought: whether token ids end inside a thought.
    """

    ends_in_thought: Callable[[Sequence[int]], bool] = lambda _: False
    path: str = "/completions"

    def fields(self, prompt: Sequence[int]) -> dict[str, Any]:
        """Return the token ids."""
        return {"prompt": list(prompt)}

    def tokens(self, prompt: Sequence[int]) -> int:
        """Return how many there are."""
        return len(prompt)

    def tokens_at_most(self, prompt: Sequence[int]) -> int:
        """Return how many there are."""
        return len(prompt)

    def opens_thought(self, prompt: Sequence[int], /) -> bool:
        """Return whether they end inside a thought."""
        return self.ends_in_thought(prompt)


def settings_of(
    model: str, generation: Generation, seed: int, stops: Sequence[str], extra_body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields that all requests of a run share.

    Args:
        model: the model's name on the server.
        generation: of the recipe. Without do_sample, the temperature is 0.
        seed: of the run; sent where the server draws.
        stops: texts that end a summary.
        extra_body: further fields, which replace those of the same name. A null leaves a field out, and
            ``max_completion_tokens`` takes the place of ``max_tokens``.
    """
    fields: dict[str, Any] = {"model": model, "max_tokens": generation.max_new_tokens}
    if generation.do_sample:
        fields |= {"temperature": generation.temperature, "top_p": generation.top_p, "seed": seed}
    else:
        fields |= {"temperature": 0}
    if stops:
        fields["stop"] = list(stops)
    if "max_completion_tokens" in extra_body:
        del fields["max_tokens"]
    return {name: value for name, value in (fields | dict(extra_body)).items() if value is not None}


def new_tokens_at_most(settings: Mapping[str, Any], generation: Generation) -> int:
    """Return an upper bound of the tokens that one request lets the server generate.

    A recipe whose settings have no limit has no ``max_cost`` either; the bound is then that of the recipe.

    Args:
        settings: of the requests (`settings_of`).
        generation: of the recipe.
    """
    limits = [settings[name] for name in ("max_tokens", "max_completion_tokens") if name in settings]
    counts = [min(limit, _MOST_NEW_TOKENS) for limit in limits if type(limit) is int and limit > 0]
    choices = settings.get("n", 1)
    return max(counts, default=generation.max_new_tokens) * (choices if type(choices) is int and choices > 0 else 1)


def _text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
