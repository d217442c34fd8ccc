"""Values of a row as validated text."""

from __future__ import annotations

from summtune.base.hints import hint
from summtune.data.formats import json_type
from summtune.data.rows import Row

NO_COLUMN = "no column"
"""What the problem of a row begins with that lacks a column."""
_SHOWN_CHARACTERS = 40


class UnusableError(Exception):
    """What is wrong with a row."""


class EmptyError(UnusableError):
    """A column of a row is empty where text is expected."""


def value_of(row: Row, column: str) -> object:
    """Return the value of a column.

    Raises:
        UnusableError: there is no such column; names the most similar one.
    """
    if column not in row.values:
        raise UnusableError(no_column(row, column))
    return row.values[column]


def no_column(row: Row, column: str) -> str:
    """Return the problem of a row that lacks a column; it names the most similar one."""
    names = [str(name) for name in row.values]
    return f"{NO_COLUMN} {column}{hint(column, names)} (got columns: {', '.join(names) or 'none'})"


def text_of(row: Row, column: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a column, line endings as ``\\n``.

    Raises:
        UnusableError: there is no such column, or its value is not text.
    """
    return checked_text(value_of(row, column), column, may_be_empty)


def texts_of(row: Row, column: str) -> list[str]:
    """Return the texts of a column that contains one text or a list of them, none of them empty.

    Raises:
        UnusableError: there is no such column, or its value is something else.
    """
    return [text for text in optional_texts_of(row, column) if text is not None]


def optional_texts_of(row: Row, column: str, or_empty: bool = False) -> list[str | None]:
    """Return the texts of a column; with ``or_empty``, None for each that is empty or absent instead of an error."""
    value = None if or_empty and column not in row.values else value_of(row, column)
    if not isinstance(value, list):
        if or_empty and is_empty(value):
            return [None]
        text = checked_text(value, column)
        # A list that was written into a .csv becomes one odd reference instead of several.
        if text.startswith(('["', "['")) and text.endswith(('"]', "']")):
            raise UnusableError(
                f"{column} is a list written as text (got {text[:_SHOWN_CHARACTERS]}…); use .jsonl, or one column each"
            )
        return [text]
    if not value and not or_empty:
        raise EmptyError(f"{column} is empty (got an empty list); give at least one text")
    return [
        None if or_empty and is_empty(item) else checked_text(item, f"item {number} of {column}")
        for number, item in enumerate(value, start=1)
    ]


def is_empty(value: object) -> bool:
    """Return whether a value stands for a missing one in tables: null, NaN (pandas), or blank text."""
    return value is None or value != value or (isinstance(value, str) and (not value or value.isspace()))


def checked_text(value: object, column: str, may_be_empty: bool = False) -> str:
    """Return a value as text, line endings as ``\\n``.

    Raises:
        UnusableError: it is not text; ``column`` names it in the message.
        EmptyError: it is null or blank.
    """
    if not isinstance(value, str):
        sort = EmptyError if is_empty(value) else UnusableError
        raise sort(f"{column} must be a string (got {json_type(value)}); correct or remove the row")
    if not may_be_empty and is_empty(value):
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
