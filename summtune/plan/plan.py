"""The plan: what a run will do, resolved once and written down; nothing downstream reads the recipe file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from summtune.base.errors import RunDirectoryError
from summtune.base.files import check_regular
from summtune.recipe.adapters import Adapter, Quantization, adapter_of, quantization_of
from summtune.recipe.families import Family
from summtune.recipe.keys import Recipe, Section

Distribution = Literal["none", "data_parallel", "deepspeed"]
StageName = Literal["train", "predict", "evaluate", "report"]


class ModelPlan(Section):
    """The model of a run.

    Args:
        base_model: the recipe's name of it.
        family: what kind of model it is; None while a hub model has not been fetched.
        folder: of its files; None while a hub model has not been fetched.
        revision: of a hub model.
        content_sha256: over a local model's files.
        adapter: what is trained of it; None for all weights, and where nothing is trained.
        quantization: how frozen weights under an adapter are stored; None: as they are.
        total_parameters: weights, with those of the adapter.
        trainable_parameters: those that are trained.
    """

    base_model: str
    family: Family | None = None
    folder: str | None = None
    revision: str | None = None
    content_sha256: str | None = None
    adapter: Adapter | None = Field(default=None, discriminator="method")
    quantization: Quantization | None = None
    total_parameters: int | None = None
    trainable_parameters: int | None = None


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
    pairs: int | None = None
    steps_per_epoch: int | None = None
    optimizer_steps: int | None = None

    @classmethod
    def of(cls, recipe: Recipe, processes: int, pairs: int | None) -> Batch:
        """Return the arithmetic for a training recipe.

        Args:
            recipe: of kind train.
            processes: processes that train.
            pairs: dialogue-summary pairs, None while the data has not been read.
        """
        global_batch = recipe.micro_batch_size * recipe.gradient_accumulation_steps * processes
        per_epoch = None if pairs is None else math.ceil(pairs / global_batch)
        steps = recipe.max_steps
        if steps is None and per_epoch is not None:
            steps = math.ceil(recipe.num_epochs * per_epoch)
        return cls(
            micro_batch_size=recipe.micro_batch_size,
            gradient_accumulation_steps=recipe.gradient_accumulation_steps,
            processes=processes,
            global_batch=global_batch,
            pairs=pairs,
            steps_per_epoch=per_epoch,
            optimizer_steps=steps,
        )


class StagePlan(Section):
    """One stage: its name and how it is started (None: by the command itself)."""

    name: StageName
    launch: Launch | None = None


class SystemPlan(Section):
    """One system of a comparison: its name, recipe file and run directory."""

    name: str
    recipe_path: str
    run_dir: str


class Plan(Section):
    """Everything that a run's stages need to know.

    Args of note: ``identity`` is the hash that names the run (`summtune.plan.keys`); ``data`` counts the dialogues of
    each role (train, validation, exemplars, test); ``versions`` are those of the packages that can change a result.
    """

    format: Literal[1] = 1
    kind: Literal["prompt", "train", "compare"]
    name: str
    identity: str
    recipe_path: str
    created_at: str
    git_commit: str | None
    versions: dict[str, str]
    recipe: Recipe
    model: ModelPlan | None = None
    data: dict[str, Any] = Field(default={})
    batch: Batch | None = None
    stages: list[StagePlan] = Field(default=[])
    systems: list[SystemPlan] = Field(default=[])

    def to_json(self) -> dict[str, Any]:
        """Return the plan as it stands in ``plan.json``: the recipe with the keys of its kind."""
        return self.model_dump(mode="json") | {"recipe": self.recipe.as_given_for_kind()}


def launch_groups(stages: Sequence[StagePlan]) -> list[list[StagePlan]]:
    """Return the stages in runs that are launched alike: one start of the processes serves a whole run of them."""
    groups: list[list[StagePlan]] = []
    for stage in stages:
        if groups and stage.launch is not None and groups[-1][0].launch == stage.launch:
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


def read_plan(run_dir: Path) -> Plan:
    """Return the plan of a run directory.

    Raises:
        InputError: ``plan.json`` is no regular file.
        OSError: there is none.
        RunDirectoryError: it was not written by this version of summtune, or damaged since.
    """
    check_regular(run_dir / "plan.json")
    try:
        return _completed(Plan.model_validate_json((run_dir / "plan.json").read_bytes()))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise RunDirectoryError(
            f"{run_dir / 'plan.json'} is not a plan of this version of summtune (got {where}: {first['msg']}); restore "
            "it, or give the recipe another --output-dir"
        ) from None


def _completed(plan: Plan) -> Plan:
    """Return the plan with what those of older runs leave to the recipe: family, adapter and quantization."""
    model = plan.model
    if model is None or model.folder is None or model.family is not None:
        return plan
    told = {"adapter": adapter_of(plan.recipe, None), "quantization": quantization_of(plan.recipe)}
    return plan.model_copy(update={"model": model.model_copy(update=told | {"family": "encoder_decoder"})})
