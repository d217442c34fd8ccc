"""What a text file is encoded in: every reader gets UTF-8, or an error that names what the file holds instead."""

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
# What Windows-1252 has besides letters and people type: quotation marks, dashes, currencies.
_TYPED = frozenset("‘’‚“”„«»‹›–—…•€£¥©®™°·´¨§¿¡½¼¾¹²³±\u00a0")
_LONG_RUN = re.compile(rb"[\x80-\xff]{4}")


def open_utf8(path: Path, shown: str) -> BinaryIO:
    """Return the file's text as UTF-8 bytes, a byte order mark included; UTF-16 (Excel, PowerShell) is converted.

    Nothing else is checked: bytes that are not UTF-8 are found where the text is read (see ``not_utf8``).

    Args:
        path: the file.
        shown: what messages call it.

    Raises:
        DataError: UTF-16 without a byte order mark, or with one and not valid.
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
    """Return the bytes of a text as `open_utf8` gives those of a file.

    Raises:
        DataError: UTF-16 without a byte order mark, or with one and not valid.
    """
    if content.startswith(_UTF16):
        try:
            return content.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise DataError(
                f"{shown} is not the UTF-16 that its byte order mark announces (got {error}); save it as UTF-8"
            ) from error
    if _looks_utf16(content[:_HEAD]):
        raise DataError(
            f"{shown} looks like UTF-16 (got NUL in every second byte, and no byte order mark); save it as UTF-8"
        )
    return content


def without_mark(content: bytes) -> bytes:
    """Return ``content`` without the byte order mark of UTF-8."""
    return content.removeprefix(_BOM)


def _looks_utf16(head: bytes) -> bool:
    half = len(head) // 2
    return half > 2 and max(head[::2].count(0), head[1::2].count(0)) > 0.8 * half


def not_utf8(path: Path, shown: str) -> DataError:
    """Return the error that names the first byte that is not UTF-8; decoding in blocks does not tell where it was."""
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return DataError(f"{shown}, line {number}: {not_utf8_problem(line, error.start, start)}")
            start += len(line)
    return DataError(f"{shown}: not UTF-8; it changed while it was read, try again")


def not_utf8_problem(line: bytes, at: int, offset: int | None = None) -> str:
    """Return what is wrong with a line that is not UTF-8, and what it most likely is instead.

    Args:
        line: the bytes.
        at: index of the first byte that cannot be decoded.
        offset: where the line starts in its file; None where that helps nobody.
    """
    where = "" if offset is None else f" at offset {offset + at}"
    likely = " (it looks like Windows-1252)" if _looks_windows(line) else ""
    return f"not UTF-8 (got byte 0x{line[at]:02x}{where}); convert it{likely}"


def _looks_windows(line: bytes) -> bool:
    """Whether a line makes sense in Windows-1252: single accented letters and typographic signs between ASCII."""
    if _LONG_RUN.search(line):
        return False  # text of another script, in an encoding of its own
    try:
        return all(char.isalpha() or char in _TYPED for char in line.decode("cp1252") if not char.isascii())
    except UnicodeDecodeError:
        return False
