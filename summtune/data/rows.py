"""What every file format is turned into: rows that know where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from summtune.base.errors import DataError


class RowPosition(NamedTuple):
    """Where a row stands, for error messages.

    Args:
        file: the file (or hub data set) as a person would name it.
        unit: what ``number`` counts: ``line``, ``row`` or ``record``.
        number: 1-based.
        line: 1-based line on which the row starts where ``unit`` is not ``line`` and lines are known, else 0.
    """

    file: str
    unit: str
    number: int
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}" + (f" (line {self.line})" if self.line else "")


class Row(NamedTuple):
    """One row: its columns by name, with values as the file holds them."""

    position: RowPosition
    values: Mapping[str, object]


class BadRow(NamedTuple):
    """A row that could not be read at all; reading goes on behind it, so that several can be reported at once."""

    position: RowPosition
    problem: str


RowStream = Iterator[Row | BadRow]


def check_names(names: Sequence[str], shown: str) -> None:
    """Raise DataError where two columns of ``shown`` have one name: one of them would win without a word."""
    if len(set(names)) < len(names):
        raise DataError(f"{shown} names a column twice (got {', '.join(names)}); rename one")
