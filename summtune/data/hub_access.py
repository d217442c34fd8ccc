"""Fetches data sets and models from the Hugging Face hub in a separate process.

The hub's libraries take seconds to import and are kept out of the command line process. The process
`summtune.data.hub` shows its progress on the terminal, and answers with one JSON object.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from summtune.base.errors import DataError, InputError, ModelError
from summtune.base.safe_python import python_command, safe_environment
from summtune.recipe.sections import DatasetSource


class FetchedFile(NamedTuple):
    """A file with rows of a hub data set.

    Args:
        path: the file; part of the hub's cache, read-only.
        kind: the ending that determines its format, such as ``.csv``.
        name: its name in the data set; empty if `summtune.data.hub` wrote it.
    """

    path: Path
    kind: str
    name: str


@dataclass(frozen=True)
class FetchedDataset:
    """One split of a hub data set.

    Args:
        files: the files with its rows, in order.
        revision: the commit that was read; None if unknown.
    """

    files: tuple[FetchedFile, ...]
    revision: str | None


@dataclass(frozen=True)
class FetchedModel:
    """A hub model.

    Args:
        path: the folder with its config, tokenizer and safetensors; part of the hub's cache, read-only.
        revision: the commit that was fetched; None if unknown.
    """

    path: Path
    revision: str | None


def fetch_dataset(source: DatasetSource, split: str, into: Path, columns: Collection[str]) -> FetchedDataset:
    """Return the rows of a split, from the hub or, if that cannot be reached, from its cache on this machine.

    Args:
        source: ``path`` is the hub id; ``name`` and ``revision`` are respected.
        split: the split to read.
        into: an existing folder for a file of rows, used if the original files cannot be read directly.
        columns: the columns to write into that file.

    Raises:
        DataError: the data set cannot be fetched, or lacks the split, the configuration or a column.
    """
    # As single words, so that no value can be mistaken for an option.
    arguments = ["dataset", source.path, f"--split={split}", f"--rows={into / 'rows.arrow'}"]
    arguments += [f"--column={column}" for column in sorted(columns)]
    if source.name is not None:
        arguments.append(f"--name={source.name}")
    if source.revision is not None:
        arguments.append(f"--revision={source.revision}")
    answer = _ask(arguments, f"data set {source.path}", DataError)
    files = (FetchedFile(Path(file["path"]), file["kind"], file["name"]) for file in answer["files"])
    return FetchedDataset(tuple(files), answer["revision"])


def fetch_model(name: str, revision: str | None, weights: bool = True) -> FetchedModel:
    """Return the folder of a hub model, fetched or from the cache on this machine.

    Args:
        name: its hub id.
        revision: to fetch; default: the newest.
        weights: whether to fetch them too; without, its config and tokenizer are enough.

    Raises:
        ModelError: the model cannot be fetched, or has no safetensors weights.
    """
    arguments = ["model", name] + ([] if revision is None else [f"--revision={revision}"])
    arguments += [] if weights else ["--no-weights"]
    answer = _ask(arguments, f"model {name}", ModelError)
    return FetchedModel(Path(answer["path"]), answer["revision"])


def _ask(arguments: Sequence[str], what: str, error: type[InputError]) -> dict[str, Any]:
    """Run `summtune.data.hub` and return its answer; its progress bars go to this process's stderr."""
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1"}
    command = python_command("summtune.data.hub", *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, env=safe_environment() | quiet, check=False)
    if done.returncode != 0:
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise error(f"{what}: the process that fetches it died (got {ended}); see its output above, and try again")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "problem" in answer:
        raise error(f"{what}: {answer['problem']}")
    return answer
