"""A recipe as it was written: its values, and the position of each of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from summtune.base.errors import InputError, Problem
from summtune.base.whole_number import whole_number

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Position:
    """Where a value was written.

    Args:
        file: the file, or for an override what it is reported under.
        line: 1-based; 0 for an override.
        column: 1-based; 0 for an override.
        folder: the folder that relative paths in an override start from; None for the file's own folder.
        rank: of what was written; of two overrides, and of an override and the file, the higher one takes precedence.
    """

    file: str
    line: int = 0
    column: int = 0
    folder: Path | None = None
    rank: int = 0


@dataclass
class Document:
    """A YAML file as values, with the position of every key and item.

    Args:
        file: the file as the user named it.
        value: dicts, lists, strings, numbers, booleans and None.
        positions: where each key path was written; for a mapping's entry, the position of its key.
        problems: duplicate keys, tags and the like, in the order of the file.
        overridden: the key paths that `assign` was called for.
        text: the content of the file.
        displaced: a sentence for each key that `displace` was called for.
    """

    file: str
    value: Any = None
    positions: dict[KeyPath, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    overridden: list[KeyPath] = field(default_factory=list)
    text: bytes = b""
    displaced: list[str] = field(default_factory=list)

    def position_of(self, path: KeyPath) -> Position:
        """Return where the value at ``path`` was written, or the nearest enclosing key that has a position."""
        enclosing = (path[:end] for end in range(len(path), -1, -1))
        return next((self.positions[part] for part in enclosing if part in self.positions), Position(self.file))

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at the position where the value at ``path`` was written."""
        position = self.position_of(path)
        return Problem(message, position.file, position.line, position.column)

    def rank_of(self, path: KeyPath) -> int:
        """Return the highest rank of what was written at or below ``path``."""
        ranks = [position.rank for key, position in self.positions.items() if key[: len(path)] == path]
        return max(ranks, default=self.position_of(path).rank)

    def assign(self, dotted: str, value: Any, origin: str, folder: Path | None = None, rank: int = 0) -> None:
        """Set the key at ``dotted`` to ``value``; None removes the key.

        Args:
            dotted: key path with sections and list indices between dots: ``datasets.0.limit``.
            value: the new value.
            origin: what problems of this value are reported under, such as ``--set seed=7``.
            folder: the folder that relative paths in the value start from.
            rank: of the value, see `Position`.

        Raises:
            InputError: the path leads through something that is neither a section nor a list item.
        """
        try:
            self.overridden.append(self._set(dotted.split("."), value, Position(origin, folder=folder, rank=rank)))
        except InputError as error:
            raise InputError(f"{origin}: {error}") from None

    def gives_way(self, path: KeyPath, to: KeyPath) -> bool:
        """Return whether the key at ``path`` is outranked by the one at ``to``; it is displaced then."""
        if self.rank_of(path) >= self.rank_of(to):
            return False
        self.displace(path, self.position_of(to).file)
        return True

    def displace(self, path: KeyPath, origin: str) -> None:
        """Remove the key at ``path``, which ``origin`` leaves without effect, and note it."""
        position = self.position_of(path)
        where = f"of {position.file}:{position.line}" if position.line else f"({position.file})"
        self.displaced.append(f"{origin} displaces {'.'.join(map(str, path))} {where}")
        container: Any = self.value
        for part in path[:-1]:
            container = container[part]
        del container[path[-1]]
        for known in [key for key in self.positions if key[: len(path)] == path]:
            del self.positions[known]

    def holds(self, dotted: str) -> bool:
        """Return whether there is a value at ``dotted``."""
        container: Any = self.value
        for part in dotted.split("."):
            step = _step(container, part)
            inside = isinstance(container, list) and isinstance(step, int) and step < len(container)
            if not inside and not (isinstance(container, dict) and step in container):
                return False
            container = container[step]
        return True

    def _set(self, parts: Sequence[str], value: Any, position: Position) -> KeyPath:
        container: Any = self.value
        path: KeyPath = ()
        for part in parts[:-1]:
            path = (*path, _step(container, part))
            if isinstance(container, dict) and container.get(part) is None:
                container[part] = {}
                self.positions[path] = position
            container = _enter(container, path[-1], path)
        last = _step(container, parts[-1])
        path = (*path, last)
        for known in [key for key in self.positions if key[: len(path)] == path]:
            del self.positions[known]
        if isinstance(container, dict) and value is None:
            container.pop(last, None)
            return path
        if not isinstance(container, dict):
            _enter(container, last, path)
        container[last] = copy.deepcopy(value)
        self.positions[path] = position
        return path


def key_path(dotted: str) -> KeyPath:
    """Return the parts of a dotted key; parts that can be list indices become numbers."""
    parts = dotted.split(".")
    return tuple(part if (number := whole_number(part)) is None else number for part in parts)


def _step(container: Any, part: str) -> str | int:
    """Return ``part`` as it is used in ``container``: an index if that is a list, otherwise a key."""
    return key_path(part)[0] if isinstance(container, list) else part


def _enter(container: Any, part: str | int, path: KeyPath) -> Any:
    dotted = ".".join(str(item) for item in path)
    if isinstance(container, list) and isinstance(part, int):
        if part >= len(container):
            raise InputError(f"the list has no such item (got {dotted}, length {len(container)}); count from 0")
        return container[part]
    if isinstance(container, dict) and part in container:
        return container[part]
    raise InputError(
        f"not inside a section or a list (got {dotted}); use the dotted path of a key, such as datasets.0.limit"
    )
