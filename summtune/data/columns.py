"""Extracts dialogue, references and id from a row, as validated text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from summtune.base.errors import DataError
from summtune.base.numbers import counted
from summtune.data.messages import conversation_of
from summtune.data.rows import BadRow, Row, RowPosition, RowStream
from summtune.data.turns import dialogue_of
from summtune.data.values import (
    NO_COLUMN,
    EmptyError,
    UnusableError,
    identity_of,
    no_column,
    optional_texts_of,
)
from summtune.recipe.sections import DatasetSource

_REPORTED = 5
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
        has_system: whether the row has system messages, which are not part of the dialogue (``type: messages``).
    """

    position: RowPosition
    dialogue: str
    references: tuple[str, ...]
    id: str | None
    left_out: int = 0
    absent: Mapping[str, str] = _NONE_ABSENT
    has_system: bool = False


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
        dialogue: the column with the dialogue; with ``messages``, with its summary too.
        summaries: at least one column; each contains one reference, or a list of them. None with ``messages``.
        id: the column with the id, or None.
        skip_empty: whether to leave out empty rows, and empty references next to others; otherwise they are errors.
        messages: whether dialogue and summary are chat messages in one column.
    """

    dialogue: str
    summaries: tuple[str, ...]
    id: str | None
    skip_empty: bool = False
    messages: bool = False

    @classmethod
    def of(cls, source: DatasetSource) -> Columns:
        """Return the columns that ``source`` names.

        Raises:
            DataError: ``summary_field`` is an empty list, or names a column twice, which would count references twice.
        """
        skip_empty = source.on_empty == "skip"
        if source.type == "messages":
            return cls(source.messages_field, (), source.id_field, skip_empty, messages=True)
        fields = source.summary_field
        summaries = (fields,) if isinstance(fields, str) else tuple(fields)
        if not summaries:
            raise DataError(f"summary_field names no column (got [] for {source.path}); name at least one")
        if len(set(summaries)) < len(summaries):
            raise DataError(
                f"summary_field names a column twice (got {list(summaries)} for {source.path}); name each once"
            )
        return cls(source.dialogue_field, summaries, source.id_field, skip_empty)

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
            dialogue, texts, has_system = self._texts(row)
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
        return Record(row.position, dialogue, references, identity, len(texts) - len(references), absent, has_system)

    def _texts(self, row: Row) -> tuple[str, list[str | None], bool]:
        """Return the dialogue, its references (None for each left out), and whether there are system messages."""
        if self.messages:
            dialogue, summary, has_system = conversation_of(row, self.dialogue, answered=True)
            return dialogue, [summary], has_system
        dialogue = dialogue_of(row, self.dialogue)
        texts = [text for name in self.summaries for text in optional_texts_of(row, name, self.skip_empty)]
        return dialogue, texts, False

    def _absent(self, row: Row) -> Mapping[str, str]:
        # JSON may leave out values that a table would store as null.
        names = [name for name in (self.dialogue, *self.summaries) if name not in row.values]
        return {name: no_column(row, name) for name in names} if names else _NONE_ABSENT


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
    if bad and alike and bad[0].problem.startswith(NO_COLUMN):  # it is missing from every row: report it once
        raise DataError(f"{bad[0].position}{and_more(count)}: {bad[0].problem}")
    if bad:
        more = f", the first {len(bad)}" if count > len(bad) else ""
        lines = "".join(f"\n  {row.position}: {row.problem}" for row in bad)
        raise DataError(f"cannot use {counted(count, 'row')}{more}:{lines}")


def and_more(count: int) -> str:
    """Return the text that follows the position of the first of ``count`` rows with the same problem."""
    return f", and {count - 1:,} more row{'s' if count > 2 else ''}" if count > 1 else ""
