"""How the stages of a run are launched: their processes, and how a training divides its global batch over them."""

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
PREDICT_CONFIG = "accelerate.predict.yaml"
"""The accelerate config of a prediction that starts otherwise than the training before it."""


class Launch(Section):
    """How the processes of a stage are started."""

    distribution: Distribution
    processes: int = Field(description="total over all machines")
    device: Literal["cuda", "cpu"]
    config_file: str = Field(description="accelerate config, a file of the run directory")
    zero_stage: int = Field(default=0, description="of DeepSpeed; 0 without it")
    machines: int = Field(default=1, description="each has the same number of processes")
    devices_per_process: int = Field(default=1, description="GPUs; above 1 a process shards its model over them")

    @property
    def processes_per_machine(self) -> int:
        """The number of processes that each machine starts."""
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
        """Return the arithmetic of a training.

        Args:
            recipe: of the training.
            processes: number of processes that train.
            pairs: number of dialogue-summary pairs.
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
    """Return the number of pairs in each optimizer step of a training."""
    return recipe.micro_batch_size * recipe.gradient_accumulation_steps * processes


@dataclass(frozen=True)
class StageGroup:
    """Consecutive stages that the same processes run.

    Args:
        names: in the order of the stages.
        launch: how the processes are started; None for a stage that runs in the command's own process.
    """

    names: tuple[StageName, ...]
    launch: Launch | None


def stage_groups(train: Launch | None, predict: Launch | None, todo: Sequence[str] | None = None) -> list[StageGroup]:
    """Return the stages of a run in order, grouped by launch.

    Args:
        train: launch of the training; None for a prompted model.
        predict: launch of the prediction; None for a model behind an API, which the command asks.
        todo: the stages to return; default: all.
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
