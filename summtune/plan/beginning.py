"""What a run records once, when it begins: its model, its data and the versions of its software."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from summtune.base.version import __version__
from summtune.recipe.families import Family
from summtune.recipe.sections import Section
from summtune.runs.diagnostics import LeakedDialogues
from summtune.runs.run_directory import timestamp

PACKAGES = (
    "accelerate", "datasets", "deepspeed", "evaluate", "peft", "rouge_score", "safetensors", "tokenizers", "torch",
    "transformers",
)  # fmt: skip
"""Packages whose version can change the result of a run."""


class Parameters(Section):
    """How many weights a model has, and how many of them are trained (0 for a prompted model)."""

    total: int
    trainable: int


class Model(Section):
    """The model of a run."""

    base_model: str = Field(description="as in the recipe; a local one by its absolute path")
    family: Family
    folder: str = Field(description="of its files on this machine")
    revision: str | None = Field(description="commit of a hub model")
    content_sha256: str | None = Field(description="over the files of a local model")
    parameters: Parameters | None = Field(description="None if the model's files do not tell them")


class Source(Section):
    """What was read from one data set; see `summtune.data.reading.SourceInfo`."""

    path: str
    split: str | None
    count: int
    revision: str | None
    skipped_rows: int
    empty_references: int
    system_messages: int = 0


class RoleData(Section):
    """The dialogues of one role."""

    dialogues: int
    pairs: int = Field(description="each of a dialogue and one of its summaries")
    sha256: str = Field(description="of the role's file in the run directory")
    sources: list[Source]


class PromptData(Section):
    """The data of a prompted model."""

    test: RoleData
    exemplars: RoleData | None = Field(description="None without shots")
    leakage: dict[Literal["exemplars"], LeakedDialogues]


class TrainData(Section):
    """The data of a training."""

    test: RoleData
    train: RoleData
    validation: RoleData | None = Field(description="None without validation data")
    leakage: dict[Literal["train", "validation"], LeakedDialogues]
    overlap: LeakedDialogues | None = Field(
        default=None, description="validation dialogues that are also trained on; None if they are held out"
    )


class Origin(Section):
    """When and with which software a run or a comparison began."""

    created_at: str = Field(description="UTC, ISO 8601")
    git_commit: str | None = Field(description="of the folder of the recipe; None outside a repository")
    versions: dict[str, str] = Field(description="of the packages that can change a result")


class Beginning(Origin):
    """What a run records once, when it begins; unchanged when it resumes, on any layout."""

    data: PromptData | TrainData
    fresh: bool = Field(default=False, description="begun with --fresh: reuses no stage of another run")


class LocalBeginning(Beginning):
    """The same for a run whose model is on this machine."""

    model: Model


def origin_now(folder: Path, packages: Sequence[str] = PACKAGES) -> Origin:
    """Return the origin of a run that begins now in ``folder``, with the versions of summtune and ``packages``."""
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
    """Return the commit of the recipe's folder, with ``-dirty`` if it has changes; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
