"""Readers of the file formats: each turns a file into rows with positions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from summtune.base.errors import DataError
from summtune.base.hints import hint
from summtune.data.columnar import read_arrow, read_parquet
from summtune.data.delimited import read_delimited
from summtune.data.encodings import not_utf8, not_utf8_problem, open_utf8, without_mark
from summtune.data.rows import BadRow, Row, RowPosition, RowStream

TEXT_TABLES = (".csv", ".tsv")
"""Formats in which every value is text."""


def open_rows(
    path: Path,
    shown: str,
    wanted: frozenset[str] | None,
    split: str | None = None,
    default_split: str = "train",
    kind: str | None = None,
) -> tuple[str | None, RowStream]:
    """Return the split that was read from a ``.json`` file (None otherwise) and the rows of a file of any format.

    Args:
        path: the file.
        shown: its name in messages.
        wanted: the columns that will be used, None for all; the columnar formats read no others.
        split: the requested split of a ``.json`` file, or None.
        default_split: the split to read if ``split`` is None.
        kind: the ending that determines the format; default: the file's own.

    Raises:
        DataError: a ``.json`` file cannot be read; the other formats raise when their first row is requested.
    """
    if (kind or path.suffix).lower() == ".json":
        return read_json_rows(path, split, default_split, shown)
    return None, read_rows(path, shown, wanted, kind)


def read_rows(path: Path, shown: str, wanted: frozenset[str] | None, kind: str | None = None) -> RowStream:
    """Yield the rows of a file of any format except ``.json`` (see ``read_json_rows``).

    Args:
        path: the file.
        shown: its name in messages.
        wanted: the columns that will be used, None for all; the columnar formats read no others.
        kind: the ending that determines the format; default: the file's own.

    Raises:
        DataError: the file as a whole cannot be read; a row that cannot is yielded as a ``BadRow``.
    """
    try:
        match (kind or path.suffix).lower():
            case ".jsonl":
                yield from _read_jsonl(path, shown)
            case ".csv" | ".tsv":
                yield from read_delimited(path, shown, wanted)
            case ".parquet":
                yield from read_parquet(path, shown, wanted)
            case extension:
                assert extension == ".arrow", f"no reader for {extension}"
                yield from read_arrow(path, shown, wanted)
    except OSError as error:
        raise DataError(f"{shown} cannot be read (got {error.strerror or error}); check the file") from error


def read_json_rows(
    path: Path, split: str | None, default_split: str, shown: str | None = None
) -> tuple[str | None, RowStream]:
    """Return the split that was read (None if the file has none) and the rows of a ``.json`` file.

    The file contains a list of objects, ``{"data": [...]}`` or ``{split: [...], ...}``; or JSON lines, as many hub data
    sets do despite the ending.

    Args:
        path: the file.
        split: the requested split, or None.
        default_split: the split to read if ``split`` is None.
        shown: the file's name in messages; default: its path.

    Raises:
        DataError: not UTF-8, not JSON, or without a list of rows.
    """
    shown = shown or str(path)
    try:
        with open_utf8(path, shown) as file:
            content = file.read()
    except OSError as error:
        raise DataError(f"{shown} cannot be read (got {error.strerror or error}); check the file") from error
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=once)
    except UnicodeDecodeError as error:
        raise not_utf8(path, shown) from error
    except json.JSONDecodeError as error:
        if split is None and _are_lines(content):
            return None, _read_jsonl(path, shown)
        raise DataError(
            f"{shown}, line {error.lineno}, column {error.colno}: not JSON (got {error.msg}); correct it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown}: not readable JSON (got {error}); correct it") from error
    chosen = None
    if isinstance(value, dict):
        chosen = _json_list_key(shown, value, split, default_split)
        value = value[chosen]
    elif split is not None:
        raise DataError(f"{shown} is one list and has no splits (got split: {split}); leave out `split`")
    if not isinstance(value, list):
        raise DataError(f"{shown}: expected a list of objects (got {json_type(value)}); write [{{...}}, ...]")
    return (chosen if chosen != "data" or split else None), _json_rows(shown, value)


def _are_lines(content: bytes) -> bool:
    """Return whether text that is not one JSON value is JSON lines: its first line is an object, and more follow."""
    first, _, rest = without_mark(content).lstrip().partition(b"\n")
    try:
        return bool(rest.strip()) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _json_list_key(shown: str, value: dict[str, Any], split: str | None, default_split: str) -> str:
    lists = [key for key, part in value.items() if isinstance(part, list)]
    candidates = [split] if split is not None else [default_split, "data"]
    for key in candidates:
        if key in lists:
            return key
    wanted = candidates[0]
    raise DataError(
        f"{shown} has no list of rows under {' or '.join(map(repr, candidates))}{hint(wanted, lists)}"
        f" (got keys: {', '.join(value) or 'none'}); set `split`, or write a list of objects"
    )


def _json_rows(shown: str, values: list[Any]) -> RowStream:
    for number, value in enumerate(values, start=1):
        yield _object_row(RowPosition(shown, "row", number), value)


def _object_row(position: RowPosition, value: object) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(position, value)
    return BadRow(position, f"a row must be an object (got {json_type(value)}); write {{...}}")


def _read_jsonl(path: Path, shown: str) -> RowStream:
    start = 0
    with open_utf8(path, shown) as lines:
        for number, line in enumerate(lines, start=1):
            content = without_mark(line) if number == 1 else line
            if content and not content.isspace():
                yield _parse_line(RowPosition(shown, "line", number), content, start + len(line) - len(content))
            start += len(line)


def _parse_line(position: RowPosition, line: bytes, start: int) -> Row | BadRow:
    try:
        return _object_row(position, json.loads(line.decode("utf-8"), object_pairs_hook=once))
    except UnicodeDecodeError as error:
        return BadRow(position, not_utf8_problem(line, error.start, start))
    except json.JSONDecodeError as error:
        return BadRow(position, f"not JSON (got {error.msg} at column {error.colno}); correct it")
    except (ValueError, RecursionError) as error:
        return BadRow(position, f"not readable JSON (got {error}); correct it")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of a JSON text, and refuse duplicate keys, of which the last would silently win."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r} in one object")
    return row


def json_type(value: object) -> str:
    """Return JSON's name of the type of ``value``, or Python's name for a type that JSON does not have."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return (names | {list: "a list", dict: "an object"}).get(type(value), type(value).__name__)
