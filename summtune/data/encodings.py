"""Text encodings: readers get UTF-8, or an error that names the likely encoding of the file."""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path
from typing import BinaryIO

from summtune.base.errors import DataError

_BOM = codecs.BOM_UTF8
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD = 256
# Characters of Windows-1252 that people type besides letters: quotation marks, dashes, currencies.
_TYPED = frozenset("‘’‚“”„«»‹›–—…•€£¥©®™°·´¨§¿¡½¼¾¹²³±\u00a0")
_LONG_RUN = re.compile(rb"[\x80-\xff]{4}")


def open_utf8(path: Path, shown: str) -> BinaryIO:
    """Return the file's text as UTF-8 bytes, a byte order mark included; UTF-16 (Excel, PowerShell) is converted.

    Nothing else is checked: bytes that are not UTF-8 are found when the text is decoded (see ``not_utf8``).

    Args:
        path: the file.
        shown: its name in messages.

    Raises:
        DataError: UTF-16 without a byte order mark, or invalid UTF-16 with one.
        OSError: the file cannot be opened.
    """
    file = path.open("rb")
    head = file.read(_HEAD)
    file.seek(0)
    if not head.startswith(_UTF16) and not _looks_utf16(head):
        return file
    with file:
        return io.BytesIO(to_utf8(file.read(), shown))


def to_utf8(content: bytes, shown: str) -> bytes:
    """Return the bytes of a text as UTF-8, as `open_utf8` does for a file.

    Raises:
        DataError: UTF-16 without a byte order mark, or invalid UTF-16 with one.
    """
    if content.startswith(_UTF16):
        try:
            return content.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise DataError(
                f"{shown} has the byte order mark of UTF-16, but is not valid UTF-16 (got {error}); save it as UTF-8"
            ) from error
    if _looks_utf16(content[:_HEAD]):
        raise DataError(
            f"{shown} looks like UTF-16 (got NUL in every second byte, without a byte order mark); save it as UTF-8"
        )
    return content


def without_mark(content: bytes) -> bytes:
    """Return ``content`` without the byte order mark of UTF-8."""
    return content.removeprefix(_BOM)


def _looks_utf16(head: bytes) -> bool:
    half = len(head) // 2
    return half > 2 and max(head[::2].count(0), head[1::2].count(0)) > 0.8 * half


def not_utf8(path: Path, shown: str) -> DataError:
    """Return an error that names the first byte that is not UTF-8, whose position is unknown after block decoding."""
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return DataError(f"{shown}, line {number}: {not_utf8_problem(line, error.start, start)}")
            start += len(line)
    return DataError(f"{shown}: not UTF-8; the file changed while it was read, try again")


def not_utf8_problem(line: bytes, at: int, offset: int | None = None) -> str:
    """Return what is wrong with a line that is not UTF-8, and its likely encoding.

    Args:
        line: the bytes.
        at: index of the first byte that cannot be decoded.
        offset: offset of the line in its file; None to leave it out of the message.
    """
    where = "" if offset is None else f" at offset {offset + at}"
    likely = " (it looks like Windows-1252)" if _looks_windows(line) else ""
    return f"not UTF-8 (got byte 0x{line[at]:02x}{where}); convert it{likely}"


def _looks_windows(line: bytes) -> bool:
    """Return whether a line is plausible Windows-1252: single accented letters and typographic signs between ASCII."""
    if _LONG_RUN.search(line):
        return False  # text of another script, in another encoding
    try:
        return all(char.isalpha() or char in _TYPED for char in line.decode("cp1252") if not char.isascii())
    except UnicodeDecodeError:
        return False
