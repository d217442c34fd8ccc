"""Gets data sets and models from the Hugging Face hub through a process of its own.

The libraries that talk to the hub take seconds to import and are kept out of the command line; `summtune.hub` runs in
between, shows its progress on the terminal, and answers with one JSON object.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.errors import DataError, InputError, ModelError
from summtune.recipe import DatasetSource
from summtune.safe_python import python_command, safe_environment


@dataclass(frozen=True)
class FetchedDataset:
    """One split of a hub data set.

    Args:
        rows_path: a ``.jsonl`` file with its rows.
        revision: the commit that was read; None where it could not be learnt.
    """

    rows_path: Path
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


def fetch_dataset(source: DatasetSource, split: str, into: Path) -> FetchedDataset:
    """Return the rows of a split, from the hub or, where that cannot be reached, from its cache on this machine.

    Args:
        source: ``path`` is the hub id; ``name`` and ``revision`` are kept to.
        split: the split to read.
        into: an existing folder that the rows are written to.

    Raises:
        DataError: the data set cannot be had, or lacks the split or configuration.
    """
    rows = into / "rows.jsonl"
    arguments = ["dataset", source.path, "--split", split, "--rows", str(rows)]
    if source.name is not None:
        arguments += ["--name", source.name]
    if source.revision is not None:
        arguments += ["--revision", source.revision]
    answer = _ask(arguments, f"data set {source.path}", DataError)
    return FetchedDataset(rows, answer["revision"])


def fetch_model(name: str, revision: str | None) -> FetchedModel:
    """Return the folder of a hub model, fetched or found in the cache on this machine.

    Raises:
        ModelError: the model cannot be had, or has no safetensors weights.
    """
    arguments = ["model", name] + ([] if revision is None else ["--revision", revision])
    answer = _ask(arguments, f"model {name}", ModelError)
    return FetchedModel(Path(answer["path"]), answer["revision"])


def _ask(arguments: Sequence[str], what: str, error: type[InputError]) -> dict[str, Any]:
    """Run `summtune.hub` and return its answer; its progress bars go to this process's stderr."""
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1"}
    command = python_command("summtune.hub", *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, env=safe_environment() | quiet, check=False)
    if done.returncode != 0:
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise error(f"{what}: the process that fetches it died (got {ended}); its last words are above, try again")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "problem" in answer:
        raise error(f"{what}: {answer['problem']}")
    return answer
