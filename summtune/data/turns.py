"""A list of turns as the text of a dialogue: one line a turn, ``speaker: text``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from summtune.data.formats import json_type, once
from summtune.data.rows import Row
from summtune.data.values import EmptyError, UnusableError, checked_text, is_empty, value_of

SPEAKER_KEYS = ("speaker", "role", "from", "name")
TEXT_KEYS = ("text", "content", "value", "utterance", "message")
_ONLY_OF_TURNS = (
    *(("speaker", text) for text in TEXT_KEYS),
    ("role", "content"),
    ("from", "value"),
    ("name", "message"),
)
"""Pairs of keys that no row of a data set has; a row may have a name and a text."""
_TEXT_PARTS = (None, "text", "input_text", "output_text")
"""The types of a part of a content that are text; the others are images, audio, calls of tools, …"""
_WRITTEN_LIST = re.compile(r"\s*\[\s*(?:\]\s*$|[\[{(]\s*['\"])")
"""The start of a list of objects or pairs as JSON or Python writes it, or an empty list; no dialogue starts so."""
_LINE_BREAKS = re.compile(r"\s*[\r\n]\s*")
_SHOWN_CHARACTERS = 40
_SHOWN_KEYS = 6


def dialogue_of(row: Row, column: str, *, may_be_empty: bool = False) -> str:
    """Return the dialogue of a column that holds text or a list of turns, line endings as ``\\n``.

    A turn is an object with a speaker and a text (`SPEAKER_KEYS`, `TEXT_KEYS`; other keys are not read), or a pair of
    them. Line breaks in a turn become spaces, because a line is a turn. Turns without text are left out.

    Raises:
        UnusableError: there is no such column, or its value is neither.
    """
    value = value_of(row, column)
    turns = items_of(value, column)
    if turns is None:
        return checked_text(value, column, may_be_empty)
    lines = [line for at, turn in enumerate(turns, start=1) if (line := _line(turn, f"turn {at} of {column}"))]
    if not lines and not may_be_empty:
        got = "turns without text" if turns else "an empty list"
        raise EmptyError(f"{column} is empty (got {got}); fill it or remove the row")
    return "\n".join(lines)


def is_turn(value: object) -> bool:
    """Return whether a JSON value is certainly a turn and no row: an object with keys that only turns have, or a pair
    of texts.
    """
    if isinstance(value, dict):
        return any(speaker in value and text in value for speaker, text in _ONLY_OF_TURNS)
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)


def items_of(value: object, column: str) -> Sequence[object] | None:
    """Return the items of a list, also of one that is written as JSON, as a ``.csv`` needs; None for anything else.

    Raises:
        UnusableError: it is a list of objects or pairs written as text, but not as JSON.
    """
    if isinstance(value, (list, tuple)):
        return value
    if not isinstance(value, str) or not _WRITTEN_LIST.match(value):
        return None
    try:
        items = json.loads(value, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        if not value.rstrip().endswith("]"):
            return None
        raise UnusableError(
            f"{column} is a list written as text that is not JSON (got {value.strip()[:_SHOWN_CHARACTERS]}…: {error}); "
            "write it with json.dumps"
        ) from error
    return items if isinstance(items, list) else None


def field_of(item: Mapping[str, object], keys: Sequence[str], place: str, what: str) -> object:
    """Return the value of the only one of ``keys`` that an object has with a value; None without one.

    Args:
        item: the object.
        keys: the names that the field may have.
        place: of the object in its row, for messages.
        what: the field in messages, such as ``speaker``.

    Raises:
        UnusableError: several of them have a value.
    """
    given = [key for key in keys if not is_empty(item.get(key))]
    if len(given) > 1:
        raise UnusableError(f"{place} has several keys for its {what} (got {' and '.join(given)}); keep one")
    return item[given[0]] if given else None


def content_of(value: object, place: str) -> str:
    """Return the text of a turn or message: its string, or its text parts joined by line breaks; empty for null.

    Raises:
        UnusableError: it is something else, or has a part that is not text.
    """
    if isinstance(value, list):
        return "\n".join(filter(None, (_part(part, f"part {at} of {place}") for at, part in enumerate(value, start=1))))
    return _string(value, place)


def shown_keys(item: Mapping[str, object]) -> str:
    """Return the keys of an object for a message."""
    names = [str(key) for key in item]
    return ", ".join(names[:_SHOWN_KEYS]) + (", …" if len(names) > _SHOWN_KEYS else "") or "none"


def _part(part: object, place: str) -> str:
    if not isinstance(part, dict):
        raise UnusableError(f"{place} must be {{type: text, text: …}} (got {json_type(part)}); correct it")
    if part.get("type") not in _TEXT_PARTS or "text" not in part:
        kind = part.get("type") or f"keys: {shown_keys(part)}"
        raise UnusableError(f"{place} is not text (got {str(kind)[:_SHOWN_CHARACTERS]}); remove it")
    return _string(part["text"], place)


def _string(value: object, place: str) -> str:
    return "" if is_empty(value) else checked_text(value, f"the text of {place}")


def _line(turn: object, place: str) -> str | None:
    """Return the line of a turn; None if it has no text."""
    if isinstance(turn, dict):
        if not any(key in turn for key in TEXT_KEYS):
            raise UnusableError(f"{place} has no text (got keys: {shown_keys(turn)}); name its keys speaker and text")
        said = content_of(field_of(turn, TEXT_KEYS, place, "text"), place)
        speaker = field_of(turn, SPEAKER_KEYS, place, "speaker")
    elif isinstance(turn, (list, tuple)) and len(turn) == 2:
        speaker, said = turn[0], content_of(turn[1], place)
    else:
        length = f" of {len(turn)}" if isinstance(turn, (list, tuple)) else ""
        raise UnusableError(
            f"{place} must be {{speaker, text}} or [speaker, text] (got {json_type(turn)}{length}); correct it"
        )
    text = _LINE_BREAKS.sub(" ", said.strip())
    return f"{_speaker(speaker, place)}: {text}" if text else None


def _speaker(value: object, place: str) -> str:
    """Return a speaker's name as it is written before the colon; a whole number counts as a name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    named = "" if is_empty(value) else checked_text(value, f"the speaker of {place}")
    name = _LINE_BREAKS.sub(" ", named.strip()).removesuffix(":").rstrip()
    if not name:
        # Without one, the line would read as the end of the turn before it.
        got = repr(value) if isinstance(value, str) else json_type(value)
        raise UnusableError(f"{place} has no speaker (got {got}); name one")
    return name
