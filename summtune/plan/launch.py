"""How the stages of a run are started, and how a training divides its batches over the processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from summtune.recipe.keys import TrainRecipe
from summtune.recipe.sections import Section

Distribution = Literal["none", "data_parallel", "deepspeed"]
StageName = Literal["train", "predict", "evaluate", "report"]


class Launch(Section):
    """How the processes of a stage are started."""

    distribution: Distribution
    processes: int = Field(description="in all, over every machine")
    device: Literal["cuda", "cpu"]
    config_file: str = Field(description="accelerate config, a file of the run directory")
    zero_stage: int = Field(default=0, description="of DeepSpeed; 0 without it")
    machines: int = Field(default=1, description="that share the processes evenly")

    @property
    def processes_per_machine(self) -> int:
        """How many processes each machine starts."""
        return self.processes // self.machines


class Batch(Section):
    """The batch arithmetic: global batch = micro batch × accumulation × processes."""

    micro_batch_size: int
    gradient_accumulation_steps: int
    processes: int
    global_batch: int
    pairs: int
    steps_per_epoch: int
    optimizer_steps: int

    @classmethod
    def of(cls, recipe: TrainRecipe, processes: int, pairs: int) -> Batch:
        """Return the arithmetic for a training.

        Args:
            recipe: of the training.
            processes: that train.
            pairs: dialogue-summary pairs.
        """
        each_step = global_batch(recipe, processes)
        per_epoch = math.ceil(pairs / each_step)
        return cls(
            micro_batch_size=recipe.micro_batch_size,
            gradient_accumulation_steps=recipe.gradient_accumulation_steps,
            processes=processes,
            global_batch=each_step,
            pairs=pairs,
            steps_per_epoch=per_epoch,
            optimizer_steps=recipe.max_steps or math.ceil(recipe.num_epochs * per_epoch),
        )


def global_batch(recipe: TrainRecipe, processes: int) -> int:
    """Return the pairs that each optimizer step of a training sees."""
    return recipe.micro_batch_size * recipe.gradient_accumulation_steps * processes


@dataclass(frozen=True)
class StageGroup:
    """Stages that one start of the processes serves.

    Args:
        names: in their order.
        launch: how the processes are started; None for a stage that the command runs itself.
    """

    names: tuple[StageName, ...]
    launch: Launch | None


def stage_groups(train: Launch | None, predict: Launch, todo: Sequence[str] | None = None) -> list[StageGroup]:
    """Return the stages of a run in their order, those that are launched alike together.

    Args:
        train: launch of the training; None for a prompted model.
        predict: launch of the prediction.
        todo: the stages to return; all by default.
    """
    launches: list[tuple[StageName, Launch | None]] = [("predict", predict), ("evaluate", None), ("report", None)]
    if train is not None:
        launches.insert(0, ("train", train))
    groups: list[StageGroup] = []
    for name, launch in launches:
        if todo is not None and name not in todo:
            continue
        if groups and launch is not None and groups[-1].launch == launch:
            groups[-1] = StageGroup((*groups[-1].names, name), launch)
        else:
            groups.append(StageGroup((name,), launch))
    return groups
