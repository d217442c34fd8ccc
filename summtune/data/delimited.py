"""Reads tables that are text: .csv and .tsv, whichever separator the program that wrote them prefers."""

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
"""Those that are tried, the most usual first, with what messages call them."""
_SEP_LINE = re.compile(r'"?sep=(?P<separator>[^"\r\n])"?[\r\n]*', re.IGNORECASE)
_TRIED_RECORDS = 20


class _Records(Protocol):
    """What ``csv.reader`` returns."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


class _Dialect(NamedTuple):
    """How a file is written: its separator, whether a blank follows each, where its header starts and on which line."""

    separator: str
    spaced: bool
    start: int
    line: int


def read_delimited(path: Path, shown: str, wanted: Collection[str] | None) -> RowStream:
    """Yield the records of a file whose first record names the columns; all values are text.

    The separator is the one that a first line ``sep=;`` names, else that of comma, semicolon, tab and bar that makes
    most of the ``wanted`` columns appear, or records as wide as the header. Blanks around the names of columns are
    dropped. A column without a name is not read; text in one at the end makes its record a ``BadRow``.

    Args:
        path: the file, UTF-8 or UTF-16.
        shown: what messages call it.
        wanted: the columns that will be looked at, None for all.

    Raises:
        DataError: the file is empty, not text, names a column twice, or its quotes do not match.
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
            # Strict: a quote that is never closed would otherwise swallow the rest of the file as one field.
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
                signs = _SEPARATORS.get(dialect.separator, f"fields that hold {dialect.separator}")
                yield BadRow(position, f"{len(header)} fields expected (got {len(record)}); quote {signs} and newlines")
            else:
                yield Row(position, {name: text for name, text in zip(header, record, strict=False) if name})
        line = records.line_num


def _is_blank(record: Sequence[str], header: Sequence[str]) -> bool:
    return not record or (len(record) == 1 < len(header) and not record[0].strip())


def _dialect(text: io.TextIOWrapper, wanted: Collection[str]) -> _Dialect:
    """Return how the file is written, from its first records."""
    announced = _SEP_LINE.fullmatch(text.readline())  # a line that Excel writes, and hides when it reads the file
    if announced:
        start, line, tried = text.tell(), 2, [announced["separator"]]
    else:
        start, line, tried = 0, 1, list(_SEPARATORS)
    heads = {separator: _head(text, start, separator) for separator in tried}
    # max takes the first of equal ones: the comma.
    separator = max(tried, key=lambda one: _fit(*heads[one], wanted))
    header = heads[separator][0]
    spaced = len(header) > 1 and all(name.startswith(" ") for name in header[1:])
    return _Dialect(separator, spaced, start, line)


def _head(text: io.TextIOWrapper, start: int, separator: str) -> tuple[list[str], list[int]]:
    """Return the header and the widths of the first records as ``separator`` divides them; no widths if it cannot."""
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
    # The limit is one of the whole process: 131,072 characters, which a long meeting's transcript exceeds.
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
