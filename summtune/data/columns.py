"""Extracts dialogue, references and id from a row, as validated text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from summtune.base.errors import DataError
from summtune.base.hints import hint
from summtune.base.numbers import counted
from summtune.data.formats import json_type
from summtune.data.rows import BadRow, Row, RowPosition, RowStream
from summtune.recipe.sections import DatasetSource

_REPORTED = 5
_SHOWN_CHARACTERS = 40
_NO_COLUMN = "no column"
_NONE_ABSENT: Mapping[str, str] = MappingProxyType({})

_Read = TypeVar("_Read")


class Record(NamedTuple):
    """A row whose columns are valid.

    Args:
        position: where it is in the file.
        dialogue: the turns, line endings as ``\\n``, not empty.
        references: at least one summary for each summary column, not empty.
        id: the value of the id column; None if the source has none.
        left_out: number of empty references that were left out (``on_empty: skip``).
        absent: columns that the row lacks and that count as empty (``on_empty: skip``), each with the message to
            report if no row has it.
    """

    position: RowPosition
    dialogue: str
    references: tuple[str, ...]
    id: str | None
    left_out: int = 0
    absent: Mapping[str, str] = _NONE_ABSENT


class EmptyRow(NamedTuple):
    """A row that is skipped because its dialogue or all its references are empty.

    Args:
        position: where it is in the file.
        problem: what is empty.
        absent: as in `Record`.
    """

    position: RowPosition
    problem: str
    absent: Mapping[str, str] = _NONE_ABSENT


@dataclass(frozen=True)
class Columns:
    """The names of the columns that a source reads.

    Args:
        dialogue: the column with the dialogue.
        summaries: at least one column; each contains one reference, or a list of them.
        id: the column with the id, or None.
        skip_empty: whether to leave out empty rows, and empty references next to others; otherwise they are errors.
    """

    dialogue: str
    summaries: tuple[str, ...]
    id: str | None
    skip_empty: bool = False

    @classmethod
    def of(cls, source: DatasetSource) -> Columns:
        """Return the columns that ``source`` names.

        Raises:
            DataError: ``summary_field`` is an empty list, or names a column twice, which would count references twice.
        """
        fields = source.summary_field
        summaries = (fields,) if isinstance(fields, str) else tuple(fields)
        if not summaries:
            raise DataError(f"summary_field names no column (got [] for {source.path}); name at least one")
        if len(set(summaries)) < len(summaries):
            raise DataError(
                f"summary_field names a column twice (got {list(summaries)} for {source.path}); name each once"
            )
        return cls(source.dialogue_field, summaries, source.id_field, source.on_empty == "skip")

    @property
    def wanted(self) -> frozenset[str]:
        """The names of all columns that are read."""
        return frozenset((self.dialogue, *self.summaries, *((self.id,) if self.id is not None else ())))

    def record(self, row: Row) -> Record | EmptyRow | BadRow:
        """Return the row's text, or what is wrong with it."""
        absent = self._absent(row) if self.skip_empty else _NONE_ABSENT
        if self.dialogue in absent:
            return EmptyRow(row.position, absent[self.dialogue], absent)
        try:
            dialogue = text_of(row, self.dialogue)
            texts = [text for name in self.summaries for text in _texts(row, name, self.skip_empty)]
            references = tuple(text for text in texts if text is not None)
            if not references:
                raise EmptyError(f"no summary in {' and '.join(self.summaries)} (got only empty ones)")
            identity = None if self.id is None else identity_of(row, self.id)
        except EmptyError as empty:
            if self.skip_empty:
                return EmptyRow(row.position, str(empty), absent)
            return BadRow(row.position, f"{empty}, or skip such rows with `on_empty: skip`")
        except UnusableError as unusable:
            return BadRow(row.position, str(unusable))
        return Record(row.position, dialogue, references, identity, len(texts) - len(references), absent)

    def _absent(self, row: Row) -> Mapping[str, str]:
        # JSON may leave out values that a table would store as null.
        names = [name for name in (self.dialogue, *self.summaries) if name not in row.values]
        return {name: _no_column(row, name) for name in names} if names else _NONE_ABSENT


class UnusableError(Exception):
    """What is wrong with a row."""


class EmptyError(UnusableError):
    """A column of a row is empty where text is expected."""


def checked(rows: RowStream, read: Callable[[Row], _Read | BadRow]) -> Iterator[_Read]:
    """Yield the result of ``read`` for each row, up to the first bad row; the rest is only read to find more bad rows.

    Raises:
        DataError: rows that cannot be used; lists the first five with their positions, and the total.
    """
    bad: list[BadRow] = []
    count = 0
    alike = True
    for row in rows:
        record = read(row) if isinstance(row, Row) else row
        if isinstance(record, BadRow):
            count += 1
            alike = alike and (not bad or record.problem == bad[0].problem)
            bad += [record] if len(bad) < _REPORTED else []
        elif not bad:
            yield record
    if count == 1:
        raise DataError(f"{bad[0].position}: {bad[0].problem}")
    if bad and alike and bad[0].problem.startswith(_NO_COLUMN):  # it is missing from every row: report it once
        raise DataError(f"{bad[0].position}{and_more(count)}: {bad[0].problem}")
    if bad:
        more = f", the first {len(bad)}" if count > len(bad) else ""
        lines = "".join(f"\n  {row.position}: {row.problem}" for row in bad)
        raise DataError(f"cannot use {counted(count, 'row')}{more}:{lines}")


def value_of(row: Row, column: str) -> object:
    """Return the value of a column.

    Raises:
        UnusableError: there is no such column; names the most similar one.
    """
    if column not in row.values:
        raise UnusableError(_no_column(row, column))
    return row.values[column]


def _no_column(row: Row, column: str) -> str:
    names = [str(name) for name in row.values]
    return f"{_NO_COLUMN} {column}{hint(column, names)} (got columns: {', '.join(names) or 'none'})"


def and_more(count: int) -> str:
    """Return the text that follows the position of the first of ``count`` rows with the same problem."""
    return f", and {count - 1:,} more row{'s' if count > 2 else ''}" if count > 1 else ""


def text_of(row: Row, column: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a column, line endings as ``\\n``.

    Raises:
        UnusableError: there is no such column, or its value is not text.
    """
    return _text(value_of(row, column), column, may_be_empty)


def texts_of(row: Row, column: str) -> list[str]:
    """Return the texts of a column that contains one text or a list of them, none of them empty.

    Raises:
        UnusableError: there is no such column, or its value is something else.
    """
    return [text for text in _texts(row, column) if text is not None]


def _texts(row: Row, column: str, or_empty: bool = False) -> list[str | None]:
    """Return the texts of a column; with ``or_empty``, None for each that is empty or absent instead of an error."""
    value = None if or_empty and column not in row.values else value_of(row, column)
    if not isinstance(value, list):
        if or_empty and _is_empty(value):
            return [None]
        text = _text(value, column)
        # A list that was written into a .csv becomes one odd reference instead of several.
        if text.startswith(('["', "['")) and text.endswith(('"]', "']")):
            raise UnusableError(
                f"{column} is a list written as text (got {text[:_SHOWN_CHARACTERS]}…); use .jsonl, or one column each"
            )
        return [text]
    if not value and not or_empty:
        raise EmptyError(f"{column} is empty (got an empty list); give at least one text")
    return [
        None if or_empty and _is_empty(item) else _text(item, f"item {number} of {column}")
        for number, item in enumerate(value, start=1)
    ]


def _is_empty(value: object) -> bool:
    """Return whether a value stands for a missing one in tables: null, NaN (pandas), or blank text."""
    return value is None or value != value or (isinstance(value, str) and (not value or value.isspace()))


def _text(value: object, column: str, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        sort = EmptyError if _is_empty(value) else UnusableError
        raise sort(f"{column} must be a string (got {json_type(value)}); correct or remove the row")
    if not may_be_empty and _is_empty(value):
        got = "only white space" if value else "an empty string"
        raise EmptyError(f"{column} is empty (got {got}); fill it or remove the row")
    _check_encodable(value, column)
    # A NUL is kept: it is unusual, but text.
    return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value


def identity_of(row: Row, column: str) -> str:
    """Return the id of a row as text.

    Raises:
        UnusableError: there is no such column, or its value is neither text nor a whole number.
    """
    value = value_of(row, column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UnusableError(f"{column} must be a string or a whole number (got {json_type(value)}); correct the id")
    if not value or value.isspace():
        raise UnusableError(f"{column} is empty (got {value!r}); every row needs an id")
    _check_encodable(value, column)
    return value


def _check_encodable(text: str, column: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can represent half of a surrogate pair, \ud83d; UTF-8 files and tokenizers cannot.
        near = text[max(0, error.start - _SHOWN_CHARACTERS) : error.start]
        raise UnusableError(
            f"{column} contains half of a surrogate pair (got {text[error.start]!a} after {near!a}); correct the text"
        ) from error
