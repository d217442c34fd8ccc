"""What a row means: the columns that a source names, checked and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from summtune.data.formats import json_type
from summtune.data.rows import BadRow, Place, Row, RowStream
from summtune.errors import DataError
from summtune.nearest import hint
from summtune.recipe import DatasetSource

_REPORTED = 5
_SHOWN_CHARACTERS = 40
_NO_COLUMN = "no column"


class Record(NamedTuple):
    """A row whose columns were checked.

    Args:
        place: where it stands.
        dialogue: the turns, line endings as ``\\n``, not empty.
        references: one summary for each summary column, not empty.
        id: what the id column holds; None where the source has none.
    """

    place: Place
    dialogue: str
    references: tuple[str, ...]
    id: str | None


@dataclass(frozen=True)
class Columns:
    """Which columns of a row hold what.

    Args:
        dialogue: the column with the dialogue.
        summaries: at least one column; each holds one reference.
        id: the column with the id, or None.
    """

    dialogue: str
    summaries: tuple[str, ...]
    id: str | None

    @classmethod
    def of(cls, source: DatasetSource) -> Columns:
        """Return the columns that ``source`` names.

        Raises:
            DataError: ``summary_field`` is an empty list or names a column twice, which would count a reference double.
        """
        fields = source.summary_field
        summaries = (fields,) if isinstance(fields, str) else tuple(fields)
        if not summaries:
            raise DataError(f"summary_field names no column (got [] for {source.path}); name at least one")
        if len(set(summaries)) < len(summaries):
            raise DataError(
                f"summary_field names a column twice (got {list(summaries)} for {source.path}); name each once"
            )
        return cls(source.dialogue_field, summaries, source.id_field)

    @property
    def wanted(self) -> frozenset[str]:
        """The names of all the columns that are read."""
        return frozenset((self.dialogue, *self.summaries, *((self.id,) if self.id is not None else ())))

    def record(self, row: Row) -> Record | BadRow:
        """Return the row's text, or what is wrong with it."""
        try:
            dialogue = _text(row, self.dialogue)
            references = tuple(_text(row, name) for name in self.summaries)
            identity = None if self.id is None else _identity(row, self.id)
        except _UnusableError as unusable:
            return BadRow(row.place, str(unusable))
        return Record(row.place, dialogue, references, identity)


class _UnusableError(Exception):
    """What is wrong with a row."""


def checked(rows: RowStream, columns: Columns) -> Iterator[Record]:
    """Yield a record for each row, up to the first row that cannot be used; the rest is then read for more of them.

    Raises:
        DataError: rows that cannot be used; the first five with their place, and how many there are.
    """
    bad: list[BadRow] = []
    count = 0
    alike = True
    for row in rows:
        record = columns.record(row) if isinstance(row, Row) else row
        if isinstance(record, BadRow):
            count += 1
            alike = alike and (not bad or record.problem == bad[0].problem)
            bad += [record] if len(bad) < _REPORTED else []
        elif not bad:
            yield record
    if count == 1:
        raise DataError(f"{bad[0].place}: {bad[0].problem}")
    if bad and alike and bad[0].problem.startswith(_NO_COLUMN):  # it is missing from every row: said once
        raise DataError(f"{bad[0].place}, and {count - 1:,} more rows: {bad[0].problem}")
    if bad:
        more = f", the first {len(bad)}" if count > len(bad) else ""
        lines = "".join(f"\n  {row.place}: {row.problem}" for row in bad)
        raise DataError(f"{count} rows cannot be used{more}:{lines}")


def _value(row: Row, column: str) -> object:
    if column not in row.values:
        names = [str(name) for name in row.values]
        raise _UnusableError(f"{_NO_COLUMN} {column}{hint(column, names)} (got columns: {', '.join(names) or 'none'})")
    return row.values[column]


def _text(row: Row, column: str) -> str:
    value = _value(row, column)
    if not isinstance(value, str):
        raise _UnusableError(f"{column} must be a string (got {json_type(value)}); correct or remove the row")
    if not value or value.isspace():
        got = "only white space" if value else "an empty string"
        raise _UnusableError(f"{column} is empty (got {got}); fill it or remove the row")
    _check_encodable(value, column)
    # A NUL is kept: it is odd, yet text.
    return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value


def _identity(row: Row, column: str) -> str:
    value = _value(row, column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _UnusableError(f"{column} must be a string or a whole number (got {json_type(value)}); correct the id")
    if not value or value.isspace():
        raise _UnusableError(f"{column} is empty (got {value!r}); every row needs an id")
    _check_encodable(value, column)
    return value


def _check_encodable(text: str, column: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can write half of a surrogate pair, \ud83d; no file and no tokenizer can hold it.
        near = text[max(0, error.start - _SHOWN_CHARACTERS) : error.start]
        raise _UnusableError(
            f"{column} holds half of a surrogate pair (got {text[error.start]!a} after {near!a}); correct the text"
        ) from error
