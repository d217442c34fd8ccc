"""Applies the overrides of a comparison and ``--set`` to a recipe.

The higher rank takes precedence. If a key of a lower rank would then have no effect, it is displaced, and the command
reports it. Between two keys of the same rank this is an error, as in a file.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeAlias

from summtune.base.errors import InputError
from summtune.recipe.document import Document, KeyPath, key_path
from summtune.recipe.ineffective import Ineffective, are_alternatives, ineffective, no_effect
from summtune.recipe.keys import FORMS_OF
from summtune.recipe.parsing import known_keys, parse, unknown_key
from summtune.recipe.yaml_reader import read_yaml_value

Reader: TypeAlias = Callable[[Mapping[str, Any]], Iterable[Ineffective]]


class Rank(IntEnum):
    """Where the value of a key comes from; the highest rank takes precedence."""

    FILE = 0
    SHARED = 1
    OWN = 2
    SET = 3


@dataclass(frozen=True)
class Setting:
    """A value for one key, from outside the recipe's file.

    Args:
        key: dotted for sections and list items.
        value: None removes the key.
        origin: the name under which its problems are reported, such as ``--set seed=7``.
        folder: the folder that relative paths in the value start from.
    """

    key: str
    value: Any
    origin: str
    folder: Path | None = None

    @classmethod
    def parse(cls, assignment: str) -> Setting:
        """Return the setting of a ``--set key=value``; paths in it start from the current folder.

        Raises:
            InputError: it is not an assignment, or its value is not YAML.
        """
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set takes key=value (got {assignment!r}); for instance --set seed=7")
        try:
            value = read_yaml_value(text)
        except InputError as error:
            raise InputError(f"--set {key}: {error}") from None
        return cls(key.strip(), value, f"--set {assignment}", Path.cwd())


@dataclass(frozen=True)
class Overrides:
    """What a comparison overrides in one of its recipes.

    Args:
        own: keys for this recipe only.
        shared: keys for every recipe that reads them; ``own`` takes precedence.
        folder: of the comparison; relative paths in the overrides start from it.
        sets: ``--set`` assignments for every recipe that reads them; they take precedence over both.
    """

    own: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    sets: Sequence[Setting] = ()


NO_OVERRIDES = Overrides()


def overridden(document: Document, name: str, sets: Sequence[str | Setting], overrides: Overrides) -> Document:
    """Return a copy of a recipe with overrides and ``--set`` applied.

    Args:
        document: of a mapping; it is not changed.
        name: of the file, for the problems of overrides.
        sets: ``--set`` assignments to this recipe.
        overrides: of a comparison in this recipe.

    Raises:
        InputError: a setting does not fit into the document.
    """

    def settings(values: Mapping[str, Any]) -> list[Setting]:
        return [Setting(key, value, f"override {key} of {name}", overrides.folder) for key, value in values.items()]

    applied = {Rank.SHARED: [], Rank.OWN: settings(overrides.own), Rank.SET: _parsed(sets)}
    waiting = [(Rank.SHARED, each) for each in settings(overrides.shared)]
    waiting += [(Rank.SET, each) for each in overrides.sets]
    result = _applied(document, applied, _ineffective)
    # One override can make the recipe read another one, regardless of their order.
    while read := [(rank, each) for rank, each in waiting if _is_read(result, each, rank)]:
        waiting = [each for each in waiting if each not in read]
        for rank, setting in read:
            applied[rank].append(setting)
        result = _applied(document, applied, _ineffective)
    return result


def with_sets(document: Document, sets: Sequence[str | Setting], ignored: Reader) -> Document:
    """Return a copy of a document with ``--set`` applied.

    Args:
        document: of a mapping; it is not changed.
        sets: ``--set`` assignments.
        ignored: returns the keys of a document's values that have no effect.

    Raises:
        InputError: a setting does not fit into the document.
    """
    return _applied(document, {Rank.SET: _parsed(sets)}, ignored)


def _parsed(sets: Sequence[str | Setting]) -> list[Setting]:
    return [Setting.parse(each) if isinstance(each, str) else each for each in sets]


def _applied(document: Document, settings: Mapping[Rank, Sequence[Setting]], ignored: Reader) -> Document:
    document = copy.deepcopy(document)
    for rank, each in settings.items():
        if each:
            # A key that already had no effect before is a mistake in the file, and remains an error.
            tolerated = {key.path for key in ignored(document.value)}
            for setting in each:
                _assign(document, setting, rank)
            while found := next(_to_displace(document, rank, tolerated, ignored(document.value)), None):
                path, cause = found
                document.displace(path, _origin(cause, each))
    return document


def _assign(document: Document, setting: Setting, rank: Rank) -> None:
    """Apply a setting; removing a key that no recipe has is an error, as setting it would be."""
    if setting.value is None and not document.holds(setting.key):
        path = key_path(setting.key)
        if path[-1] not in known_keys(path[:-1]):
            raise InputError(f"{setting.origin}: {unknown_key(path)}")
        return
    document.assign(setting.key, setting.value, setting.origin, setting.folder, rank)


def _to_displace(
    document: Document, rank: Rank, tolerated: Collection[KeyPath], found: Iterable[Ineffective]
) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Yield each key that settings of ``rank`` displace, and the key that displaces it."""
    for path, _, decisive in found:
        if path in tolerated:
            continue
        if document.rank_of(path) < rank:
            yield path, decisive
        elif are_alternatives(path, decisive) and document.rank_of(decisive) < rank:
            yield decisive, path


def _origin(cause: KeyPath, settings: Sequence[Setting]) -> str:
    """Return the origin of the setting of a key, or of one below or above it."""
    keys = {key_path(setting.key): setting.origin for setting in settings}
    origins = [keys[key] for key in keys if key[: len(cause)] == cause or cause[: len(key)] == key]
    # A key that nobody set, such as shots, decides only after the kind was changed.
    kinds = [setting.origin for setting in settings if setting.key == "kind"]
    return next(iter((*origins, *kinds)), settings[0].origin)


def _is_read(document: Document, setting: Setting, rank: Rank) -> bool:
    """Return whether the recipe, as written, would read a setting; an unknown key counts, so that it is reported."""
    path: KeyPath = key_path(setting.key)
    top = str(path[0])
    if top not in FORMS_OF:
        return True
    if setting.value is None:
        return document.holds(setting.key)
    parsed = parse(document.value)
    if parsed.recipe is None:
        return True
    found = [no_effect(part, parsed.recipe, parsed.wrong) for part in ((top,), path)]
    return all(
        each is None or (are_alternatives(path, each.decisive) and document.rank_of(each.decisive) < rank)
        for each in found
    )


def _ineffective(values: Mapping[str, Any]) -> list[Ineffective]:
    """Return the keys of a recipe that have no effect; an empty list if its kind is not known."""
    parsed = parse(values)
    if parsed.recipe is None:
        return []
    given = {key: value for key, value in values.items() if key not in parsed.wrong}
    return list(ineffective(given, parsed.recipe, parsed.wrong))
