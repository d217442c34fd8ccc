"""Readers of the columnar formats, Parquet and Arrow, that validate files whose damage could crash the process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from summtune.base.errors import DataError
from summtune.data.rows import BadRow, Row, RowPosition, RowStream, check_names

_MOST_ROWS_OF_NOTHING = 1 << 20
"""Columns of nulls have no buffers that bound their length: a damaged one would be read until memory runs out."""


def read_parquet(path: Path, shown: str, wanted: frozenset[str] | None) -> RowStream:
    """Yield the rows of a parquet file.

    Args:
        path: the file.
        shown: its name in messages.
        wanted: the columns to read; None for all.

    Raises:
        DataError: the file is damaged, or not a Parquet file.
    """
    from pyarrow.parquet import ParquetFile

    with _damage(shown, "Parquet"), ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        check_names(names, shown)
        columns = _columns(names, wanted)
        yield from _batches(shown, file.iter_batches(batch_size=1024, columns=columns), _unread(names, wanted))


def read_arrow(path: Path, shown: str, wanted: frozenset[str] | None) -> RowStream:
    """Yield the rows of an Arrow file, in the stream or file format; arguments and errors as in `read_parquet`."""
    import pyarrow

    with _damage(shown, "Arrow"), pyarrow.memory_map(str(path)) as source, _arrow_reader(source) as stream:
        names = stream.schema.names
        check_names(names, shown)
        columns = _columns(names, wanted)
        yield from _batches(shown, (batch.select(columns) for batch in _arrow_batches(stream)), _unread(names, wanted))


@contextlib.contextmanager
def _damage(shown: str, what: str) -> Iterator[None]:
    """Turn every exception that pyarrow raises for a damaged file into a DataError that names the file.

    Besides its own errors, it was seen to raise SystemError, UnicodeDecodeError (a column's name), OverflowError and
    MemoryError.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the system, not damage
            raise
        raise DataError(
            f"{shown} is not a readable {what} file (got {_first_line(error)}); write it again, or fetch it "
            "again if it was copied"
        ) from error


def _arrow_reader(source: Any) -> Any:
    """Return the reader of an Arrow file: the stream format, as ``datasets`` writes, or the file format (Feather)."""
    import pyarrow

    indexed = source.read(6) == b"ARROW1"
    source.seek(0)
    return (pyarrow.ipc.open_file if indexed else pyarrow.ipc.open_stream)(source)


def _arrow_batches(reader: Any) -> Iterator[Any]:
    count = getattr(reader, "num_record_batches", None)  # unknown for a stream
    return iter(reader) if count is None else (reader.get_batch(number) for number in range(count))


def _columns(names: list[str], wanted: frozenset[str] | None) -> list[str]:
    """Return the columns to read: the wanted ones that exist, or else the first, because a row needs one column."""
    return names if wanted is None else [name for name in names if name in wanted] or names[:1]


def _unread(names: list[str], wanted: frozenset[str] | None) -> dict[str, None]:
    """Return all columns, without values, if a wanted one is missing: messages list them."""
    return {} if wanted is None or wanted.issubset(names) else dict.fromkeys(names)


def _batches(shown: str, batches: Iterator[Any], unread: dict[str, None]) -> RowStream:
    number = 0
    for batch in batches:
        _check_buffers(batch)
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError:
            rows = [_one_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
        for values in rows:
            number += 1
            position = RowPosition(shown, "row", number)
            yield (
                BadRow(position, values)
                if isinstance(values, str)
                else Row(position, unread | values if unread else values)
            )


def _check_buffers(batch: Any) -> None:
    """Raise ArrowInvalid if offsets and lengths of a damaged file point outside its buffers.

    Python would follow them, and could crash. Text that is not UTF-8 passes: it is reported with its row.
    """
    import pyarrow

    batch.validate()
    if batch.nbytes == 0 and batch.num_rows > _MOST_ROWS_OF_NOTHING:
        raise pyarrow.ArrowInvalid(f"{batch.num_rows:,} rows without any value")
    for column in batch.columns:
        try:
            column.validate(full=True)
        except pyarrow.ArrowInvalid:
            plain = _as_bytes(column.type)
            if plain == column.type:
                raise
            column.view(plain).validate(full=True)


def _as_bytes(kind: Any) -> Any:
    """Return an Arrow type with every text in it, at any depth, as bytes: the layout is the same."""
    import pyarrow
    from pyarrow import types

    def field(of: Any) -> Any:
        return of.with_type(_as_bytes(of.type))

    if types.is_string(kind):
        return pyarrow.binary()
    if types.is_large_string(kind):
        return pyarrow.large_binary()
    if types.is_list(kind):
        return pyarrow.list_(field(kind.value_field))
    if types.is_large_list(kind):
        return pyarrow.large_list(field(kind.value_field))
    if types.is_struct(kind):
        return pyarrow.struct([field(kind.field(at)) for at in range(kind.num_fields)])
    if types.is_dictionary(kind):
        return pyarrow.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    return kind


def _one_row(batch: Any) -> Any:
    """Return the values of a batch of one row, or what is wrong with them: Arrow does not validate its strings."""
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return f"text that is not UTF-8 (got byte 0x{error.object[error.start]:02x}); convert it"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
