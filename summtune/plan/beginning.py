"""What a run learns once, when it begins: its model's files, its data, and the versions that it started with."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from summtune.base.version import __version__
from summtune.recipe.sections import Section
from summtune.runs.run_directory import timestamp

PACKAGES = (
    "accelerate", "datasets", "deepspeed", "evaluate", "peft", "rouge_score", "safetensors", "tokenizers", "torch",
    "transformers",
)  # fmt: skip
"""Those that can change the result of a run."""


class Parameters(Section):
    """How many weights a model has, and how many of them are trained: none of a prompted one."""

    total: int
    trainable: int


class Model(Section):
    """The model of a run."""

    base_model: str = Field(description="as the recipe names it, a local one by its absolute path")
    folder: str = Field(description="that holds its files on this machine")
    revision: str | None = Field(description="commit of a hub model")
    content_sha256: str | None = Field(description="over the files of a local model")
    parameters: Parameters | None = Field(description="None where they cannot be told from the model's files")


class Source(Section):
    """What was read from one data set (`summtune.data.reading.SourceInfo`)."""

    path: str
    split: str | None
    count: int
    revision: str | None
    skipped_rows: int
    empty_references: int


class RoleData(Section):
    """The dialogues of one role."""

    dialogues: int
    pairs: int = Field(description="of a dialogue with one of its summaries")
    sha256: str = Field(description="of the role's file in the run directory")
    sources: list[Source]


class LeakedDialogue(Section):
    """A test dialogue that the model is shown elsewhere, and where that is."""

    id: str
    found: str


class Leakage(Section):
    """Test dialogues that are also among the training data or the exemplars, wholly or nearly."""

    count: int
    of: int = Field(description="test dialogues")
    examples: list[LeakedDialogue] = Field(description="the first of them")


class PromptData(Section):
    """The data of a prompted model."""

    test: RoleData
    exemplars: RoleData | None = Field(description="None without shots")
    leakage: dict[Literal["exemplars"], Leakage]


class TrainData(Section):
    """The data of a training."""

    test: RoleData
    train: RoleData
    validation: RoleData | None = Field(description="None where nothing is held out")
    leakage: dict[Literal["train"], Leakage]


class Origin(Section):
    """When and with what a run or a comparison was begun."""

    created_at: str = Field(description="UTC, ISO 8601")
    git_commit: str | None = Field(description="of the folder of the recipe; None outside a repository")
    versions: dict[str, str] = Field(description="of the packages that can change a result")


class Beginning(Origin):
    """What a run learns once, when it begins; it keeps it when it is resumed, on any layout."""

    model: Model
    data: PromptData | TrainData


def origin_now(folder: Path, packages: Sequence[str] = PACKAGES) -> Origin:
    """Return the origin of what is begun now in ``folder``, with the versions of summtune and ``packages``."""
    return Origin(created_at=timestamp(), git_commit=_git_commit(folder), versions=_versions(packages))


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"summtune": __version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git_commit(folder: Path) -> str | None:
    """Return the commit that the recipe's folder is at, ``-dirty`` when it has changes; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
