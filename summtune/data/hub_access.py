"""Gets data sets and models from the Hugging Face hub through a process of its own.

The libraries that talk to the hub take seconds to import and are kept out of the command line; `summtune.data.hub` runs
in between, shows its progress on the terminal, and answers with one JSON object.
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
        path: the file; part of the hub's cache, not to be written to.
        kind: the ending that says how it is read, such as ``.csv``.
        name: its name in the data set; empty where `summtune.data.hub` made it.
    """

    path: Path
    kind: str
    name: str


@dataclass(frozen=True)
class FetchedDataset:
    """One split of a hub data set.

    Args:
        files: those with its rows, in their order.
        revision: the commit that was read; None where it could not be learnt.
    """

    files: tuple[FetchedFile, ...]
    revision: str | None


@dataclass(frozen=True)
class FetchedModel:
    """A model of the hub.

    Args:
        path: the folder with its config, tokenizer and safetensors; part of the hub's cache, not to be written to.
        revision: the commit that was fetched; None where it could not be learnt.
    """

    path: Path
    revision: str | None


def fetch_dataset(source: DatasetSource, split: str, into: Path, columns: Collection[str]) -> FetchedDataset:
    """Return the rows of a split, from the hub or, where that cannot be reached, from its cache on this machine.

    Args:
        source: ``path`` is the hub id; ``name`` and ``revision`` are kept to.
        split: the split to read.
        into: an existing folder for a file of rows, where those of the data set are not read as they are.
        columns: what that file holds.

    Raises:
        DataError: the data set cannot be had, or lacks the split, the configuration or a column.
    """
    # In one word, so that no value is taken for an option.
    arguments = ["dataset", source.path, f"--split={split}", f"--rows={into / 'rows.arrow'}"]
    arguments += [f"--column={column}" for column in sorted(columns)]
    if source.name is not None:
        arguments.append(f"--name={source.name}")
    if source.revision is not None:
        arguments.append(f"--revision={source.revision}")
    answer = _ask(arguments, f"data set {source.path}", DataError)
    files = (FetchedFile(Path(file["path"]), file["kind"], file["name"]) for file in answer["files"])
    return FetchedDataset(tuple(files), answer["revision"])


def fetch_model(name: str, revision: str | None) -> FetchedModel:
    """Return the folder of a hub model, fetched or found in the cache on this machine.

    Raises:
        ModelError: the model cannot be had, or has no safetensors weights.
    """
    arguments = ["model", name] + ([] if revision is None else [f"--revision={revision}"])
    answer = _ask(arguments, f"model {name}", ModelError)
    return FetchedModel(Path(answer["path"]), answer["revision"])


def _ask(arguments: Sequence[str], what: str, error: type[InputError]) -> dict[str, Any]:
    """Run `summtune.data.hub` and return its answer; its progress bars go to this process's stderr."""
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1"}
    command = python_command("summtune.data.hub", *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, env=safe_environment() | quiet, check=False)
    if done.returncode != 0:
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise error(f"{what}: the process that fetches it died (got {ended}); its last words are above, try again")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "problem" in answer:
        raise error(f"{what}: {answer['problem']}")
    return answer
