"""Atomic writing of files, and bounded reading of regular files.

A file is written under a temporary name in its own folder, flushed to the disk and renamed, so a reader (or a run that
resumes after a power cut) sees either the old content or the new one, never half of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from summtune.base.errors import InputError, RunDirectoryError

CONFIG_BYTES = 4 << 20
"""Largest JSON configuration file that is read: those of models and DeepSpeed have a few kilobytes."""
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def irregular(path: Path) -> str | None:
    """Return the kind of an irregular file, whose reading may never end: "a pipe", "a socket", "a device".

    None for a regular file, a folder, a link to one, and a path that does not exist.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a ValueError for a NUL in the path
        return None
    return next((name for is_one, name in _KINDS if is_one(mode)), None)


def irregular_files(folder: Path) -> list[str]:
    """Return the irregular files in a folder, hidden ones left out: each with its kind."""
    held = sorted(folder.iterdir()) if os.access(folder, os.R_OK) and folder.is_dir() else []
    return [f"{file}, {kind}" for file in held if not file.name.startswith(".") and (kind := irregular(file))]


def is_file(path: Path) -> bool:
    """Return whether the file exists; False if the system cannot look at it (too long, a loop, no permission)."""
    try:
        return path.is_file()
    except OSError:
        return False


def check_regular(path: Path) -> None:
    """Check that ``path`` is not a device, a pipe or a socket; a folder or a missing file fails when it is opened.

    Raises:
        InputError: it is one of these.
    """
    kind = irregular(path)
    if kind is not None:
        raise InputError(f"not a regular file (got {path}, {kind}); give a file")


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file of at most ``most_bytes``.

    Raises:
        InputError: the file is larger, or not a regular file.
        OSError: the file cannot be read.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
        size = max(len(content), os.fstat(file.fileno()).st_size)
    if len(content) > most_bytes:
        raise InputError(f"the file exceeds {most_bytes:,} bytes (got {size:,} bytes in {path}); is it the right file?")
    return content


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically and durably.

    Raises:
        OSError: the folder is not writable, or the disk is full; ``path`` is then unchanged.
    """
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces ``path``, atomically and durably, when the block ends without an exception.

    Raises:
        InputError: ``path`` is a device, a pipe or a socket, which must not be replaced by a file.
        OSError: the folder is not writable, or the disk is full; ``path`` is then unchanged.
    """
    check_regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        sync(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk, so that they survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file that summtune wrote.

    Raises:
        InputError: ``path`` is not a regular file.
        RunDirectoryError: the file is damaged.
        OSError: the file does not exist or cannot be read.
    """
    check_regular(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(str(path), error) from None


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a ``.jsonl`` file that summtune wrote.

    Raises:
        InputError: ``path`` is not a regular file.
        RunDirectoryError: the file is damaged.
        OSError: the file does not exist or cannot be read.
    """
    check_regular(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise _damaged(f"{path}, line {number}", error) from None


def _damaged(place: str, error: Exception) -> RunDirectoryError:
    return RunDirectoryError(f"{place}: not the JSON that summtune wrote there (got {error}); restore the file")


def expanded(given: str) -> Path:
    """Return the path in a text, with ``~`` and ``~user`` at its start expanded to the home of that user.

    Takes text, because a `Path` of ``./~/x`` would also start with ``~``.

    Raises:
        InputError: the user does not exist or has no home.
    """
    if not given.startswith("~"):
        return Path(given)
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise InputError(
            f"no such user, or one without a home (got {given}); correct it, or write ./{given} for a file of that name"
        ) from None


def followed(path: Path) -> Path:
    """Return the absolute path with links followed as far as possible: a loop of links stays as it is."""
    return Path(os.path.realpath(path))


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
