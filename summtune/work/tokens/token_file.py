"""Writes token rows to a file in one pass and reads them memory-mapped.

Little-endian: the tokens of all rows one after another, then the tables (int64), then an index as JSON, its length in
eight bytes, and a marker. The index comes last, so nothing has to be known or held in memory before the tokens are
written, and a truncated file has no index.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import total_ordering
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
import numpy.typing as npt

_MARK = b"SUMMTOK1"
_CHUNK = 1 << 22


class DamagedTokensError(ValueError):
    """A file differs from what `TokenWriter` wrote."""


class TokenWriter:
    """Writes rows of tokens and, at the end, tables and notes.

    Args:
        file: empty, open for writing.
        vocabulary: ids are below this; up to 65,536, a token takes two bytes instead of four.
    """

    def __init__(self, file: BinaryIO, vocabulary: int) -> None:
        self._file = file
        self._type = "<u2" if vocabulary <= 1 << 16 else "<i4"
        self._starts = array("q", [0])
        self._checksum = 0

    def add(self, rows: Sequence[Sequence[int]]) -> range:
        """Append rows and return their numbers."""
        first = len(self._starts) - 1
        for row in rows:
            self._write(np.asarray(row, dtype=self._type))
            self._starts.append(self._starts[-1] + len(row))
        return range(first, first + len(rows))

    def close(self, tables: Mapping[str, Sequence[int]], notes: Mapping[str, Any]) -> None:
        """Write the tables and the notes (any JSON value); the file itself stays open."""
        self._write(np.zeros(-self._file.tell() % 8, dtype="u1"))
        spans: dict[str, tuple[int, int]] = {}
        for name, values in {**tables, "starts": self._starts}.items():
            spans[name] = self._file.tell(), len(values)
            self._write(np.asarray(values, dtype="<i8"))
        index = {"type": self._type, "tables": spans, "notes": notes, "checksum": self._checksum}
        encoded = json.dumps(index).encode()
        self._file.write(encoded + len(encoded).to_bytes(8, "little") + _MARK)

    def _write(self, values: npt.NDArray[Any]) -> None:
        content = values.tobytes()
        self._checksum = zlib.crc32(content, self._checksum)
        self._file.write(content)


class TokenFile:
    """The rows of a file, memory-mapped.

    Args:
        path: the file.

    Attributes:
        notes: as passed to `TokenWriter.close`.
        tokens: of all rows one after another, memory-mapped; shape (tokens,).
        starts: where each row starts in ``tokens``, and the end of the last one; shape (rows + 1,).

    Raises:
        DamagedTokensError: the file is truncated, or its checksum is wrong.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            index, content = _index(file)
            if _checksum(file, content) != index["checksum"]:
                raise DamagedTokensError(f"the checksum of the tokens is wrong (got {path}); delete the file")
            self._mapped = np.memmap(file, dtype="u1", mode="r", shape=(content,))
        # Plain views: slices of np.memmap are ten times as slow.
        flat = self._mapped.view(np.ndarray)
        self._spans: dict[str, list[int]] = index["tables"]
        self._flat = flat
        self.starts = self.table("starts")
        width = np.dtype(index["type"]).itemsize
        self.tokens = flat[: int(self.starts[-1]) * width].view(index["type"])
        self.notes: dict[str, Any] = index["notes"]

    def table(self, name: str) -> npt.NDArray[np.int64]:
        """Return a table, memory-mapped."""
        start, length = self._spans[name]
        return self._flat[start : start + 8 * length].view("<i8")

    def row(self, number: int) -> npt.NDArray[Any]:
        """Return the tokens of a row, memory-mapped: shape (tokens,)."""
        found: npt.NDArray[Any] = self.tokens[self.starts[number] : self.starts[number + 1]]
        return found


@total_ordering
class TokenRow(Sequence[int]):
    """A row that is read only when accessed; it compares like a list of its ids.

    Args:
        file: that contains the row.
        number: of the row.
    """

    __slots__ = ("_file", "_number")

    def __init__(self, file: TokenFile, number: int) -> None:
        self._file = file
        self._number = number

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        found: int | list[int] = self._file.row(self._number)[place].tolist()
        return found

    def __len__(self) -> int:
        return len(self._file.row(self._number))

    def __iter__(self) -> Iterator[int]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self[:] == list(other)

    def __lt__(self, other: Sequence[int]) -> bool:
        return self[:] < list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def _index(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return the index and the number of bytes before it."""
    size = file.seek(0, 2)
    tail = 8 + len(_MARK)
    file.seek(max(size - tail, 0))
    end = file.read()
    length = int.from_bytes(end[:8], "little")
    if size < tail or end[8:] != _MARK or length > size - tail:
        raise DamagedTokensError(f"the file of tokens is truncated (got {size} bytes in {file.name}); delete it")
    content = size - tail - length
    file.seek(content)
    try:
        index: dict[str, Any] = json.loads(file.read(length))
    except ValueError:
        raise DamagedTokensError(f"the index of the tokens cannot be read (got {file.name}); delete the file") from None
    return index, content


def _checksum(file: BinaryIO, size: int) -> int:
    file.seek(0)
    checksum = 0
    while size > 0:
        content = file.read(min(_CHUNK, size))
        if not content:
            break
        checksum = zlib.crc32(content, checksum)
        size -= len(content)
    return checksum
