"""The outputs generated so far: one append-only file a rank, which a killed run resumes from.

A line holds the key of a prompt (`summtune.generation.distinct.key_of`) and its output.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from summtune.base.files import check_regular
from summtune.base.strict import read_model_lines
from summtune.generation.generator import Output


class _Line(Output):
    key: str


def mend(folder: Path) -> None:
    """Cut off the last line of each file where a kill left it incomplete; nobody may be appending."""
    for path in sorted(folder.glob("*.jsonl")):
        check_regular(path)
        content = path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            os.truncate(path, complete)


def read_outputs(folder: Path) -> dict[str, Output]:
    """Return what all ranks have generated so far, by the keys of the prompts.

    Raises:
        InputError: a file is not a regular file.
        RunDirectoryError: a complete line is not an output; deleting its file has its outputs generated again.
    """
    outputs: dict[str, Output] = {}
    for path in _files(folder):
        for line in read_model_lines(_Line, path):
            outputs[line.key] = Output(**{name: getattr(line, name) for name in Output.model_fields})
    return outputs


@contextlib.contextmanager
def appending(folder: Path, rank: int) -> Iterator[Callable[[str, Output], None]]:
    """Yield a function that appends the key of a prompt and its output to the file of a rank."""
    with (folder / f"rank{rank}.jsonl").open("a", encoding="utf-8") as file:

        def append(key: str, output: Output) -> None:
            file.write(json.dumps({"key": key, **output.model_dump()}) + "\n")
            file.flush()  # a kill then loses nothing that is ready

        yield append


def discard(folder: Path) -> None:
    """Delete the files; their content is in ``predictions.jsonl``."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("rank*.jsonl"))
