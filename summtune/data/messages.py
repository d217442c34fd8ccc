"""Chat messages as a dialogue with its summary: system messages, user messages, then the assistant's."""

from __future__ import annotations

import re
from typing import NamedTuple

from summtune.base.hints import hint
from summtune.data.formats import json_type
from summtune.data.rows import Row
from summtune.data.turns import content_of, field_of, items_of, shown_keys
from summtune.data.values import EmptyError, UnusableError, is_empty, value_of

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
"""The role for each name that chats, ShareGPT and Gemma have for it."""
_ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value")
_SHOWN_ROLES = 8


class Conversation(NamedTuple):
    """The messages of a row.

    Args:
        dialogue: the user messages, joined by line breaks; an instruction in them is part of it.
        summary: the assistant's message; None without one.
        has_system: whether there are system messages, which are not part of the dialogue.
    """

    dialogue: str
    summary: str | None
    has_system: bool


def conversation_of(row: Row, column: str, *, answered: bool) -> Conversation:
    """Return the dialogue and the summary in a column of messages, neither of them empty.

    Args:
        row: whose column holds a list of messages, or such a list as JSON text.
        column: its name.
        answered: whether the assistant's message with the summary must be there.

    Raises:
        UnusableError: there is no such column, or it does not hold such messages.
    """
    value = value_of(row, column)
    messages = items_of(value, column)
    if messages is None or not messages:
        sort = EmptyError if messages is not None or is_empty(value) else UnusableError
        got = json_type(value) if messages is None else "an empty list"
        raise sort(f"{column} must be a list of messages (got {got}); give a role and a content each")
    said = [_message(each, f"message {at} of {column}") for at, each in enumerate(messages, start=1)]
    roles = [role for role, _ in said]
    shape = "s*u+a" if answered else "s*u+a?"
    if not re.fullmatch(shape, "".join(role[0] for role in roles)):
        # Earlier answers may be examples or other summaries: a guess could train on the wrong one.
        shown = ", ".join(roles[:_SHOWN_ROLES]) + (", …" if len(roles) > _SHOWN_ROLES else "")
        raise UnusableError(
            f"{column} must be one dialogue with its summary: system messages, if any, then user messages, then one "
            f"assistant message (got {shown}); rewrite the row"
        )
    dialogue = "\n".join(text for role, text in said if role == "user" and not is_empty(text))
    if not dialogue:
        raise EmptyError(f"{column} has no dialogue (got empty user messages); fill them or remove the row")
    summary = said[-1][1] if roles[-1] == "assistant" else None
    if summary is not None and answered:
        _check_summary(summary, f"message {len(said)} of {column}")
    return Conversation(dialogue, summary, roles[0] == "system")


def _message(message: object, place: str) -> tuple[str, str]:
    """Return the role and the text of a message."""
    if not isinstance(message, dict):
        raise UnusableError(f"{place} must be {{role, content}} (got {json_type(message)}); correct it")
    if not any(key in message for key in _CONTENT_KEYS):
        raise UnusableError(f"{place} has no content (got keys: {shown_keys(message)}); give it a role and a content")
    name = field_of(message, _ROLE_KEYS, place, "role")
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        got = repr(name[:40]) if isinstance(name, str) else json_type(name)
        known = hint(name, _ROLES) if isinstance(name, str) else ""
        raise UnusableError(f"the role of {place} must be system, user or assistant (got {got}){known}; correct it")
    return role, content_of(field_of(message, _CONTENT_KEYS, place, "content"), place)


def _check_summary(summary: str, place: str) -> None:
    if is_empty(summary):
        raise EmptyError(f"the summary, {place}, is empty (got {summary!r:.40}); fill it or remove the row")
    if summary.lstrip().startswith("<think>"):
        raise UnusableError(
            f"the summary, {place}, begins with a thought (got {summary.lstrip()[:40]!r}); keep what follows </think>"
        )
