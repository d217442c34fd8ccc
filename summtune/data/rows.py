"""Rows with positions, the common result of all file formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from summtune.base.errors import DataError


class RowPosition(NamedTuple):
    """The position of a row, for error messages.

    Args:
        file: the file (or hub data set), as shown to the user.
        unit: what ``number`` counts: ``line``, ``row`` or ``record``.
        number: 1-based.
        line: 1-based line on which the row starts, if ``unit`` is not ``line`` and the line is known; otherwise 0.
    """

    file: str
    unit: str
    number: int
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}" + (f" (line {self.line})" if self.line else "")


class Row(NamedTuple):
    """One row: its columns by name, with values as stored in the file."""

    position: RowPosition
    values: Mapping[str, object]


class BadRow(NamedTuple):
    """A row that could not be read; reading continues after it, so that several can be reported at once."""

    position: RowPosition
    problem: str


RowStream = Iterator[Row | BadRow]


def check_names(names: Sequence[str], shown: str) -> None:
    """Check that the columns of ``shown`` have different names; of two with one name, one would silently win.

    Raises:
        DataError: two have the same name.
    """
    if len(set(names)) < len(names):
        raise DataError(f"{shown} has duplicate column names (got {', '.join(names)}); rename one")
