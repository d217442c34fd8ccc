"""Readers of the file formats: each turns a file into rows that know where they stand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from summtune.data.rows import BadRow, Place, Row, RowStream
from summtune.errors import DataError
from summtune.nearest import hint

_BOM = b"\xef\xbb\xbf"
_LONGEST_CSV_FIELD = 2**31 - 1


def read_rows(path: Path, shown: str, wanted: frozenset[str] | None) -> RowStream:
    """Yield the rows of a ``.jsonl``, ``.csv``, ``.parquet`` or ``.arrow`` file (``.json``: see ``read_json_rows``).

    Args:
        path: the file.
        shown: what messages call it.
        wanted: the columns that will be looked at, None for all; the columnar formats read no others.

    Raises:
        DataError: the file as a whole cannot be read; a row that cannot is yielded as a ``BadRow``.
    """
    try:
        match path.suffix.lower():
            case ".jsonl":
                yield from _read_jsonl(path, shown)
            case ".csv":
                yield from _read_csv(path, shown)
            case ".parquet":
                yield from _read_parquet(path, shown, wanted)
            case extension:
                assert extension == ".arrow", f"no reader for {extension}"
                yield from _read_arrow(path, shown, wanted)
    except OSError as error:
        raise DataError(f"{shown} cannot be read (got {error.strerror or error}); check the file") from error


def read_json_rows(path: Path, split: str | None, default_split: str) -> tuple[str | None, RowStream]:
    """Return the split that was chosen (None where the file has none) and the rows of a ``.json`` file.

    The file holds a list of objects, ``{"data": [...]}`` or ``{split: [...], ...}``.

    Raises:
        DataError: not UTF-8, not JSON, or no list of rows in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read (got {error.strerror or error}); check the file") from error
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, str(path)) from error
    except json.JSONDecodeError as error:
        advice = "; it looks like JSON lines: name it .jsonl" if error.msg == "Extra data" else "; correct it"
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON (got {error.msg}){advice}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON that can be read (got {error}); correct it") from error
    chosen = None
    if isinstance(value, dict):
        chosen = _json_list_key(path, value, split, default_split)
        value = value[chosen]
    elif split is not None:
        raise DataError(f"{path} is one list and has no splits (got split: {split}); leave out `split`")
    if not isinstance(value, list):
        raise DataError(f"{path}: expected a list of objects (got {json_type(value)}); write [{{...}}, ...]")
    return (chosen if chosen != "data" or split else None), _json_rows(str(path), value)


def _json_list_key(path: Path, value: dict[str, Any], split: str | None, default_split: str) -> str:
    lists = [key for key, part in value.items() if isinstance(part, list)]
    candidates = [split] if split is not None else [default_split, "data"]
    for key in candidates:
        if key in lists:
            return key
    wanted = candidates[0]
    raise DataError(
        f"{path} holds no list of rows under {' or '.join(map(repr, candidates))}{hint(wanted, lists)}"
        f" (got keys: {', '.join(value) or 'none'}); set `split`, or write a list of objects"
    )


def _json_rows(shown: str, values: list[Any]) -> RowStream:
    for number, value in enumerate(values, start=1):
        yield _object_row(Place(shown, "row", number), value)


def _object_row(place: Place, value: object) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(place, value)
    return BadRow(place, f"a row must be an object (got {json_type(value)}); write {{...}}")


def _read_jsonl(path: Path, shown: str) -> RowStream:
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            if content and not content.isspace():
                yield _parse_line(Place(shown, "line", number), content, start + len(line) - len(content))
            start += len(line)


def _parse_line(place: Place, line: bytes, start: int) -> Row | BadRow:
    try:
        return _object_row(place, json.loads(line.decode("utf-8"), object_pairs_hook=_once))
    except UnicodeDecodeError as error:
        return BadRow(
            place, f"not UTF-8 (got byte 0x{line[error.start]:02x} at offset {start + error.start}); convert it"
        )
    except json.JSONDecodeError as error:
        return BadRow(place, f"not JSON (got {error.msg} at column {error.colno}); correct it")
    except (ValueError, RecursionError) as error:
        return BadRow(place, f"not JSON that can be read (got {error}); correct it")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of a JSON text, in which no key stands twice: the last one would win without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return row


def _read_csv(path: Path, shown: str) -> RowStream:
    with path.open(encoding="utf-8-sig", newline="") as text, _long_csv_fields():
        # Strict: a quote that is never closed would otherwise swallow the rest of the file as one field.
        records = csv.reader(text, strict=True)
        try:
            header = next(records, None)
            if not header:
                raise DataError(f"{shown} is empty (got no header); its first line must name the columns")
            _check_names(header, shown)
            number, line = 0, records.line_num
            for record in records:
                if record:
                    number += 1
                    place = Place(shown, "record", number, line + 1)
                    if len(record) == len(header):
                        yield Row(place, dict(zip(header, record, strict=True)))
                    else:
                        yield BadRow(
                            place, f"{len(header)} fields expected (got {len(record)}); quote commas and newlines"
                        )
                line = records.line_num
        except csv.Error as error:
            raise DataError(f"{shown}, line {records.line_num}: not CSV (got {error}); check the quotes") from error
        except UnicodeDecodeError as error:
            raise _not_utf8(path, shown) from error


@contextmanager
def _long_csv_fields() -> Iterator[None]:
    # The limit is one of the whole process: 131,072 characters, which a long meeting's transcript exceeds.
    before = csv.field_size_limit(_LONGEST_CSV_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_parquet(path: Path, shown: str, wanted: frozenset[str] | None) -> RowStream:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_names(names, shown)
            yield from _batches(shown, file.iter_batches(batch_size=1024, columns=_columns(names, wanted)))
    except ArrowException as error:
        raise DataError(
            f"{shown} is not a Parquet file that can be read (got {_first_line(error)}); write it again"
        ) from error


def _read_arrow(path: Path, shown: str, wanted: frozenset[str] | None) -> RowStream:
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
            _check_names(stream.schema.names, shown)
            columns = _columns(stream.schema.names, wanted)
            yield from _batches(shown, (batch.select(columns) for batch in stream))
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{shown} is not an Arrow file that can be read (got {_first_line(error)}); save it again"
        ) from error


def _check_names(names: list[str], shown: str) -> None:
    if len(set(names)) < len(names):
        raise DataError(f"{shown} names a column twice (got {', '.join(names)}); rename one")


def _columns(names: list[str], wanted: frozenset[str] | None) -> list[str]:
    """Return the columns to read: the wanted ones, or all where one is missing, so that the message can name them."""
    return [name for name in names if name in wanted] if wanted and wanted.issubset(names) else names


def _batches(shown: str, batches: Iterator[Any]) -> RowStream:
    number = 0
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError:
            rows = [_one_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
        for values in rows:
            number += 1
            place = Place(shown, "row", number)
            yield BadRow(place, values) if isinstance(values, str) else Row(place, values)


def _one_row(batch: Any) -> Any:
    """Return the values of a batch of one row, or what is wrong with them: Arrow does not check its strings."""
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return f"text that is not UTF-8 (got byte 0x{error.object[error.start]:02x}); convert it"


def _not_utf8(path: Path, shown: str) -> DataError:
    """Return the error that names the first byte that is not UTF-8; decoding in blocks does not tell where it was."""
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                offset, byte = start + error.start, line[error.start]
                return DataError(
                    f"{shown}, line {number}: not UTF-8 (got byte 0x{byte:02x} at offset {offset}); convert it"
                )
            start += len(line)
    return DataError(f"{shown}: not UTF-8; it changed while it was read, try again")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def json_type(value: object) -> str:
    """Return what JSON calls the type of ``value``, or Python's name of a type that JSON does not have."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return (names | {list: "a list", dict: "an object"}).get(type(value), type(value).__name__)
