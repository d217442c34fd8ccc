"""The part of ``plan.json`` that a report or a comparison reads, of every kind of run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from summtune.base.errors import RunDirectoryError
from summtune.base.files import check_regular
from summtune.base.strict import Count, StrictModel, read_model

PLAN_FILE = "plan.json"
FORMAT = 2
"""The format of ``plan.json``; a run directory of another format is refused."""


ReusableStage = Literal["train", "predict"]
"""A stage whose outputs another run may reuse."""


class MadeBy(StrictModel):
    """The run whose stage wrote the outputs that another run reuses.

    Args:
        run_dir: its directory, which may have been deleted since.
        created_at: when it began.
        device: on which the stage ran.
        versions: by package, of the software that it began with.
    """

    run_dir: Annotated[str, Field(min_length=1)]
    created_at: str | None
    device: Literal["cuda", "cpu"]
    versions: dict[str, str]

    @property
    def shown(self) -> str:
        """The directory as people are shown it, with the folder that it is in."""
        path = Path(self.run_dir)
        return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


class _View(BaseModel):
    """A part of the plan; other fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())


class SourceView(_View):
    """Where dialogues came from; ``skipped_rows`` were empty."""

    path: str
    split: str | None = None
    skipped_rows: Count = 0


class RoleView(_View):
    """The dialogues of one role, their pairs with a summary each, their hash, and the sources they came from."""

    dialogues: Count
    pairs: Count | None = None
    sha256: str | None = None
    sources: tuple[SourceView, ...] = ()


class DataView(_View):
    """The dialogues that a run read."""

    train: RoleView | None = None
    validation: RoleView | None = None
    test: RoleView | None = None
    exemplars: RoleView | None = None


class LaunchView(_View):
    """What a stage ran on."""

    device: Literal["cuda", "cpu"]


class ModelView(_View):
    """The model of a run: its family, its folder on this machine, its revision on the hub or the hash of its files."""

    family: str | None = None
    folder: str | None = None
    revision: str | None = None
    content_sha256: str | None = None


class PlanView(_View):
    """What is shown of a plan.

    Args:
        kind: ``scored`` for external outputs.
        name: the recipe's.
        recipe: as resolved; its keys depend on the kind.
        identity: hash that names the run.
        keys: of its stages.
        reused: by stage the run that made its outputs, for those that were reused.
        fresh: whether it was begun with ``--fresh``, and reuses nothing.
        git_commit: of the working tree that it was started in.
        created_at: when, in UTC.
        versions: by package.
        data: the dialogues.
        batch: the batch arithmetic, by its terms; None without training.
        train: how the training was launched; None without one.
        predict: how the prediction was launched, likewise.
        model: None if no model was run.
        prompt: how the prompts are written; None for other kinds of runs, and for runs that are older than it.
    """

    kind: Literal["prompt", "train", "compare", "scored"]
    name: Annotated[str, Field(min_length=1)]
    recipe: dict[str, JsonValue]
    identity: str | None = None
    keys: dict[str, str] = Field(default={})
    reused: dict[str, MadeBy] = Field(default={})
    fresh: bool = False
    git_commit: str | None = None
    created_at: str | None = None
    versions: dict[str, str] = Field(default={})
    data: DataView = DataView()
    batch: dict[str, Count | None] | None = None
    train: LaunchView | None = None
    predict: LaunchView | None = None
    model: ModelView | None = None
    prompt: dict[str, JsonValue] | None = None

    @property
    def devices(self) -> set[str]:
        """Kinds of device that its stages ran on, here or in the run that made what was reused."""
        launches: dict[str, LaunchView | None] = {"train": self.train, "predict": self.predict}
        planned = {stage: launch.device for stage, launch in launches.items() if launch is not None}
        return {self.reused[stage].device if stage in self.reused else device for stage, device in planned.items()}


def read_plan_view(path: Path) -> PlanView:
    """Return what is shown of a ``plan.json``.

    Raises:
        InputError: it is not a regular file.
        OSError: there is no such file.
        RunDirectoryError: a version of summtune with another format wrote it, or it is damaged.
    """
    read_plan_file(path)
    return read_model(PlanView, path)


def read_plan_file(path: Path) -> bytes:
    """Return the content of a ``plan.json`` of this version's format.

    Raises:
        InputError: it is not a regular file.
        OSError: there is no such file.
        RunDirectoryError: a version of summtune with another format wrote it.
    """
    check_regular(path)
    content = path.read_bytes()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content  # the reader of the model reports it
    written = value.get("format") if isinstance(value, dict) else FORMAT
    if type(written) is not int or written != FORMAT:
        raise RunDirectoryError(
            f"another version of summtune wrote this run directory (got format {written!r:.40} in {path}, but this "
            f"version reads format {FORMAT}); use that version, or run the recipe again in another directory"
        )
    return content
