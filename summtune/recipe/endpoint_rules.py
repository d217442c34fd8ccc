"""Rules for the section `endpoint`: what further fields of a request may not say, and what bounds its cost."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from pydantic import JsonValue

from summtune.recipe.document import KeyPath
from summtune.recipe.endpoint import Endpoint
from summtune.recipe.keys import EndpointRecipe

_WHOLE = "answers are read as a whole"
_FIXED = {
    "messages": ("the recipe makes the prompts", "set prompt_template, system_prompt or shots"),
    "prompt": ("the recipe makes the prompts", "set prompt_template, system_prompt or shots"),
    "model": ("one key names the model", "set endpoint.model"),
    "stream": (_WHOLE, "remove the field"),
    "stream_options": (_WHOLE, "remove the field"),
}
"""Fields that summtune sends or reads in its own way: why, and what to do instead."""
_SHOWN = 60
"""Characters of a value that a message shows."""
_CHOICES = ("n", "best_of")
_CAPS = ("max_tokens", "max_completion_tokens")
_OTHER_CAPS = ("n_predict",)
"""llama.cpp takes it before max_tokens."""


def check_endpoint(recipe: EndpointRecipe, wrong: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what the section contradicts.

    Args:
        recipe: the values, defaults filled in.
        wrong: keys that have an invalid value; rules that depend on them are skipped.
    """
    if "endpoint" in wrong:
        return
    endpoint = recipe.endpoint
    for name in endpoint.extra_body:
        message = _wrong_field(name, endpoint.extra_body[name])
        if message is not None:
            yield ("endpoint", "extra_body", name), message
    if endpoint.max_cost is None:
        return
    if endpoint.price is None:
        yield ("endpoint", "max_cost"), "max_cost needs the price of tokens; set endpoint.price, or remove max_cost"
    if (unbounded := _unbounded(endpoint)) is not None:
        yield (
            ("endpoint", "max_cost"),
            f"max_cost needs a limit of the tokens of an answer (got {unbounded} in endpoint.extra_body); set "
            "max_completion_tokens there to an integer of 1 or more, or remove max_cost",
        )


def _wrong_field(name: str, value: JsonValue) -> str | None:
    got = f"got {name}: {json.dumps(value, ensure_ascii=False)[:_SHOWN]}"
    if name in _FIXED:
        why, instead = _FIXED[name]
        return f"extra_body cannot set {name}, because {why} ({got}); {instead}"
    if name in _CHOICES and value is not None and (type(value) is not int or value != 1):
        return f"a server charges for each choice, and only the first is used ({got} in extra_body); remove the field"
    return None


def _unbounded(endpoint: Endpoint) -> str | None:
    """Return the fields that leave the length of an answer without a limit; None if there is one."""
    given = {name: value for name, value in endpoint.extra_body.items() if name in (*_CAPS, *_OTHER_CAPS)}
    odd = [name for name, value in given.items() if value is not None and not (type(value) is int and value >= 1)]
    sent = [name for name in _CAPS if given.get(name) is not None]
    removed = bool(given.keys() & set(_CAPS)) and not sent
    if not odd and not removed and given.get("n_predict") is None:
        return None
    return ", ".join(f"{name}: {json.dumps(value)}" for name, value in given.items())
