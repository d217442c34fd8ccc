"""Reads .csv and .tsv tables with any usual separator."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from summtune.base.errors import DataError
from summtune.data.encodings import not_utf8, open_utf8
from summtune.data.rows import BadRow, Row, RowPosition, RowStream, check_names

_LONGEST_FIELD = 2**31 - 1
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""The separators to try, most common first, with their names in messages."""
_SEP_LINE = re.compile(r'"?sep=(?P<separator>[^"\r\n])"?[\r\n]*', re.IGNORECASE)
_TRIED_RECORDS = 20


class _Records(Protocol):
    """The type of ``csv.reader``'s result."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


class _Dialect(NamedTuple):
    """The format of a file: its separator, whether a blank follows each one, and the offset and line of its header."""

    separator: str
    spaced: bool
    start: int
    line: int


def read_delimited(path: Path, shown: str, wanted: Collection[str] | None) -> RowStream:
    """Yield the records of a file whose first record names the columns; all values are text.

    The separator is the one named by a first line such as ``sep=;``. Otherwise it is the one among comma, semicolon,
    tab and bar that yields most of the ``wanted`` columns, or records as wide as the header. Blanks around column names
    are stripped. A column without a name is ignored; text in such a column at the end makes its record a ``BadRow``.

    Args:
        path: the file, UTF-8 or UTF-16.
        shown: its name in messages.
        wanted: the columns that will be used; None for all.

    Raises:
        DataError: the file is empty, not text, names a column twice, or has unbalanced quotes.
    """
    known = wanted or ()
    with (
        open_utf8(path, shown) as content,
        io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text,
        _long_fields(),
    ):
        try:
            dialect = _dialect(text, known)
            text.seek(dialect.start)
            # Strict: an unclosed quote would otherwise swallow the rest of the file as one field.
            records = csv.reader(text, delimiter=dialect.separator, skipinitialspace=dialect.spaced, strict=True)
            try:
                yield from _rows(records, shown, dialect, known)
            except csv.Error as error:
                line = dialect.line - 1 + records.line_num
                raise DataError(f"{shown}, line {line}: not CSV (got {error}); check the quotes") from error
        except UnicodeDecodeError as error:
            raise not_utf8(path, shown) from error


def _rows(records: _Records, shown: str, dialect: _Dialect, wanted: Collection[str]) -> RowStream:
    header = [name if name in wanted else name.strip() for name in next(filter(None, records), [])]
    if not any(header):
        raise DataError(f"{shown} is empty (got no header); its first line must name the columns")
    while not header[-1]:
        header.pop()
    check_names([name for name in header if name], shown)
    number, line = 0, records.line_num
    for record in records:
        if not _is_blank(record, header):
            number += 1
            position = RowPosition(shown, "record", number, dialect.line + line)
            if len(record) < len(header) or any(record[len(header) :]):
                signs = _SEPARATORS.get(dialect.separator, f"fields that contain {dialect.separator}")
                yield BadRow(position, f"{len(header)} fields expected (got {len(record)}); quote {signs} and newlines")
            else:
                yield Row(position, {name: text for name, text in zip(header, record, strict=False) if name})
        line = records.line_num


def _is_blank(record: Sequence[str], header: Sequence[str]) -> bool:
    return not record or (len(record) == 1 < len(header) and not record[0].strip())


def _dialect(text: io.TextIOWrapper, wanted: Collection[str]) -> _Dialect:
    """Return the format of the file, judging by its first records."""
    announced = _SEP_LINE.fullmatch(text.readline())  # Excel writes this line, and hides it when reading the file
    if announced:
        start, line, tried = text.tell(), 2, [announced["separator"]]
    else:
        start, line, tried = 0, 1, list(_SEPARATORS)
    heads = {separator: _head(text, start, separator) for separator in tried}
    # max returns the first of equal ones: the comma.
    separator = max(tried, key=lambda one: _fit(*heads[one], wanted))
    header = heads[separator][0]
    spaced = len(header) > 1 and all(name.startswith(" ") for name in header[1:])
    return _Dialect(separator, spaced, start, line)


def _head(text: io.TextIOWrapper, start: int, separator: str) -> tuple[list[str], list[int]]:
    """Return the header and the widths of the first records, split at ``separator``; no widths if that fails."""
    text.seek(start)
    records = csv.reader(text, delimiter=separator, strict=True)
    header: list[str] = []
    try:
        header = next(filter(None, records), [])
        return header, [len(record) for record in itertools.islice(records, _TRIED_RECORDS) if record]
    except csv.Error:
        return header, []


def _fit(header: Sequence[str], widths: Sequence[int], wanted: Collection[str]) -> tuple[int, bool, bool]:
    found = len({name.strip() for name in header} & set(wanted))
    divides = len(header) > 1
    return found, divides and all(width == len(header) for width in widths), divides


@contextmanager
def _long_fields() -> Iterator[None]:
    # The limit is process-wide: 131,072 characters by default, which a long meeting's transcript exceeds.
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
