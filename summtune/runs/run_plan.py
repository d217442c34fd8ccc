"""The part of ``plan.json`` that a report or a comparison reads, of every kind of run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from summtune.base.strict import Count

PLAN_FILE = "plan.json"


class _View(BaseModel):
    """A part of the plan: what is not shown is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())


class SourceView(_View):
    """Where dialogues came from; ``skipped_rows`` were empty."""

    path: str
    split: str | None = None
    skipped_rows: Count = 0


class RoleView(_View):
    """The dialogues of one role, their pairs with a summary each, and the sources they came from."""

    dialogues: Count
    pairs: Count | None = None
    sources: tuple[SourceView, ...] = ()


class DataView(_View):
    """The dialogues that a run read."""

    train: RoleView | None = None
    test: RoleView | None = None


class LaunchView(_View):
    """What a stage ran on."""

    device: Literal["cuda", "cpu"]


class ModelView(_View):
    """The model of a run: its family, its folder on this machine, and its revision on the hub."""

    family: str | None = None
    folder: str | None = None
    revision: str | None = None


class PlanView(_View):
    """What is shown of a plan.

    Args:
        kind: ``scored`` for external outputs.
        name: the recipe's.
        recipe: as resolved; its keys depend on the kind.
        identity: hash that names the run.
        git_commit: of the working tree that it was started in.
        created_at: when, in UTC.
        versions: by package.
        data: the dialogues.
        batch: the batch arithmetic, by its terms; None without training.
        train: how the training was launched; None without one.
        predict: how the prediction was launched, likewise.
        model: None if no model was run.
    """

    kind: Literal["prompt", "train", "compare", "scored"]
    name: Annotated[str, Field(min_length=1)]
    recipe: dict[str, JsonValue]
    identity: str | None = None
    git_commit: str | None = None
    created_at: str | None = None
    versions: dict[str, str] = Field(default={})
    data: DataView = DataView()
    batch: dict[str, Count | None] | None = None
    train: LaunchView | None = None
    predict: LaunchView | None = None
    model: ModelView | None = None

    @property
    def devices(self) -> set[str]:
        """Kinds of device that its processes ran on."""
        return {launch.device for launch in (self.train, self.predict) if launch is not None}
