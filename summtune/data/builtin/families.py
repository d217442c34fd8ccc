"""Reads the scenario families and the shared phrases from their two text files.

A family in ``families.txt`` defines who talks about what. ``slot`` lines contain the facts (``@day``: from a shared
pool, or a number), the beats (``A:``, ``B:``) the turns in order, ``aside`` lines small questions that do not matter,
``outcome`` lines the two possible endings, ``correct`` the fact that a speaker may get wrong first, and ``=`` lines the
wordings of the summary. In a wording, ``[present|past]`` marks a verb and ``<when: on {day}>`` a fact of that kind,
which a summary may leave out. Everything after a ``~`` is held out for the test split, as are families with
``split test``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

Role = Literal["A", "B"]
WORDINGS = 3  # of every summary: the test split's references
KINDS = ("when", "why", "money", "details")
"""Kinds of facts that a summary may state, leave out or hint at."""
VAGUE = {"when": "some time", "why": "some reason", "money": "some money", "details": "something"}
"""The text of a hint that replaces a fact's value."""


@dataclass(frozen=True)
class Choices:
    """Alternatives of one phrase or word.

    Args:
        common: those that every split may use.
        held_out: those that only the test split uses; may be empty.
    """

    common: tuple[str, ...]
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One ending of a conversation: its beats, and ``WORDINGS`` sentences for the summary."""

    name: str
    beats: list[tuple[Role, Choices]] = field(default_factory=list)
    wordings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Family:
    """A scenario: who talks about what, with which facts, and how it can end.

    Args:
        name: one word.
        topic: a noun phrase with ``{slots}``.
        roles: names of the person who wants something (A) and of the other one (B).
        slots: facts by name; ``"@day"`` refers to a shared pool or a number.
        correct: the slot that a speaker may get wrong first.
        opener: a first turn of B.
        beats: the turns before the outcome.
        asides: pairs (B asks, A answers) that never matter, as ``"question / answer"``.
        outcomes: the possible endings.
        wordings: ``WORDINGS`` first sentences of a summary; ``[present|past]`` marks verbs, ``<kind:text|instead>`` a
            fact of one of ``KINDS``.
        held_out: whether only the test split has this scenario.
    """

    name: str
    topic: str
    roles: tuple[str, str]
    slots: dict[str, Choices | str]
    correct: str
    opener: Choices
    beats: list[tuple[Role, Choices]]
    asides: tuple[str, ...]
    outcomes: list[Outcome]
    wordings: list[str]
    held_out: bool


@cache
def families() -> tuple[Family, ...]:
    """Return every family, in the file's order."""
    blocks: list[list[str]] = []
    for line in _lines("families.txt"):
        if line.startswith("family "):
            blocks.append([])
        blocks[-1].append(line)
    return tuple(_family(block) for block in blocks)


@cache
def pools() -> dict[str, Choices]:
    """Return the shared words and phrases by the pool's name."""
    found: dict[str, Choices] = {}
    for header, items in _grouped(_lines("words.txt")):
        name, _, inline = header.removeprefix("pool ").partition(": ")
        found[name] = _choices(inline, ";") if inline else _listed(items)
    return found


def _lines(name: str) -> list[str]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _grouped(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each header with the ``-``, ``~`` and ``=`` lines under it."""
    header, items = "", list[str]()
    for line in lines:
        if line[0] in "-~=":
            items.append(line)
            continue
        if header:
            yield header, items
        header, items = line, []
    yield header, items


def _listed(items: list[str]) -> Choices:
    return Choices(tuple(i[2:] for i in items if i[0] == "-"), tuple(i[2:] for i in items if i[0] == "~"))


def _choices(text: str, separator: str) -> Choices:
    common, _, held_out = text.partition(" ~ ")
    return Choices(
        tuple(part.strip() for part in common.split(separator)),
        tuple(part.strip() for part in held_out.split(separator)) if held_out else (),
    )


def _family(block: list[str]) -> Family:
    fields: dict[str, str] = {}
    slots: dict[str, Choices | str] = {}
    beats: list[tuple[Role, Choices]] = []
    asides: list[str] = []
    outcomes: list[Outcome] = []
    wordings: list[str] = []
    for header, items in _grouped(block):
        key, _, rest = header.partition(" ")
        if key == "slot":
            name, _, values = rest.partition(": ")
            slots[name] = values if values.startswith("@") else _choices(values, ";")
        elif key == "aside":
            asides.append(rest)
        elif key == "outcome":
            outcomes.append(Outcome(rest))
        elif key in ("A:", "B:"):
            role: Role = "A" if key == "A:" else "B"
            (outcomes[-1].beats if outcomes else beats).append((role, _listed(items)))
        else:
            fields[key] = rest
        (outcomes[-1].wordings if outcomes else wordings).extend(i[2:] for i in items if i[0] == "=")
    person_a, person_b = fields["roles"].split(", ")
    return Family(
        name=fields["family"],
        topic=fields["topic"],
        roles=(person_a, person_b),
        slots=slots,
        correct=fields["correct"],
        opener=_choices(fields["opener"], " / "),
        beats=beats,
        asides=tuple(asides),
        outcomes=outcomes,
        wordings=wordings,
        held_out=fields.get("split") == "test",
    )
