"""The draft of a plan: all that is known before a run begins; together with its beginning it makes the plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from summtune.base.errors import RunDirectoryError
from summtune.deepspeed.configs import sized
from summtune.machine.devices import Gpu
from summtune.machine.memory import MemoryEstimate
from summtune.machine.model_shapes import shape_of
from summtune.plan.beginning import Beginning, Model, Origin, Parameters, PromptData, TrainData, origin_now
from summtune.plan.launch import Batch, Launch, StageGroup, stage_groups
from summtune.plan.plan import ComparedRun, ComparePlan, PromptPlan, RunPlan, TrainPlan
from summtune.recipe.keys import CompareRecipe, PromptRecipe, RunRecipe, TrainRecipe
from summtune.recipe.loading import LoadedRecipe


@dataclass(frozen=True)
class _Draft:
    """What is known of a recipe of any kind.

    Args:
        loaded: the file, for the positions of problems.
        identity: hash that names the run.
        run_dir: absolute.
    """

    loaded: LoadedRecipe
    identity: str
    run_dir: Path

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.loaded.name


@dataclass(frozen=True)
class _RunDraft(_Draft):
    """What is known of a prompt or train recipe.

    Args:
        model_folder: None while a hub model has not been fetched.
        content_sha256: over the files of a local model; None for one on the hub.
        parameters: of the model, None while they cannot be told.
        gpus: the devices that were seen, here where the recipe runs here.
        predict: how the prediction is launched.
    """

    model_folder: Path | None
    content_sha256: str | None
    parameters: Parameters | None
    gpus: tuple[Gpu, ...]
    predict: Launch


@dataclass(frozen=True)
class PromptDraft(_RunDraft):
    """A prompt recipe made ready to run."""

    recipe: PromptRecipe

    @property
    def stages(self) -> list[StageGroup]:
        """All stages, those that are launched alike together."""
        return stage_groups(None, self.predict)


@dataclass(frozen=True)
class TrainDraft(_RunDraft):
    """A train recipe made ready to run.

    Args:
        train: how the training is launched.
        deepspeed: the DeepSpeed config, filled in; None without one.
        bf16: whether the estimate counts in bfloat16.
        memory: what training needs on each device; None for models of unknown shape.
    """

    recipe: TrainRecipe
    train: Launch
    deepspeed: dict[str, Any] | None
    bf16: bool
    memory: MemoryEstimate | None

    @property
    def stages(self) -> list[StageGroup]:
        """All stages, those that are launched alike together."""
        return stage_groups(self.train, self.predict)


RunDraft: TypeAlias = PromptDraft | TrainDraft


@dataclass(frozen=True)
class CompareDraft(_Draft):
    """A comparison made ready to run: the name and the draft of each system."""

    recipe: CompareRecipe
    parts: tuple[tuple[str, RunDraft], ...]


Draft: TypeAlias = PromptDraft | TrainDraft | CompareDraft


def runs_of(draft: Draft) -> tuple[RunDraft, ...]:
    """Return the runs of a recipe: itself, or the systems of a comparison."""
    return tuple(part for _, part in draft.parts) if isinstance(draft, CompareDraft) else (draft,)


def machines_of(draft: Draft) -> int:
    """Return how many machines the command is given on; the nodes of a Slurm job are not among them."""
    groups = [group for run in runs_of(draft) if run.recipe.launcher == "local" for group in run.stages]
    return max((group.launch.machines for group in groups if group.launch), default=1)


def parameters_of(recipe: RunRecipe, folder: Path | None) -> Parameters | None:
    """Return how many weights the model of a recipe has and trains; None where its shape cannot be told.

    Args:
        recipe: paths resolved.
        folder: of the model's files; None while they are on the hub, where the shapes of a few models are known.
    """
    shape = shape_of(recipe.base_model, folder)
    if shape is None:
        return None
    if isinstance(recipe, PromptRecipe):
        return Parameters(total=shape.parameters, trainable=0)
    if recipe.adapter is None:
        return Parameters(total=shape.parameters, trainable=shape.parameters)
    added = shape.lora_parameters(recipe.lora_r, recipe.lora_target_modules, recipe.peft_use_dora)
    return None if added is None else Parameters(total=shape.parameters + added, trainable=added)


def model_of(draft: RunDraft, folder: Path, revision: str | None) -> Model:
    """Return the model of a run, whose files are in ``folder``."""
    return Model(
        base_model=draft.recipe.base_model,
        folder=str(folder),
        revision=revision,
        content_sha256=draft.content_sha256,
        parameters=parameters_of(draft.recipe, folder),
    )


def begin(draft: RunDraft, model: Model, data: PromptData | TrainData) -> RunPlan:
    """Return the plan of a run that begins now."""
    return complete(draft, Beginning(**dict(origin_now(draft.loaded.path.parent)), model=model, data=data))


def complete(draft: RunDraft, begun: Beginning) -> RunPlan:
    """Return the plan of a run: this draft's layout, and what the run learned when it began.

    A run that is resumed on another layout has the launches and the batch of the new draft, and the beginning of the
    old plan: what is complete was made with those versions and that data.

    Raises:
        RunDirectoryError: the beginning is that of a run of another kind.
    """
    shared: dict[str, Any] = {
        "name": draft.name,
        "identity": draft.identity,
        "recipe_path": str(draft.loaded.path),
        "predict": draft.predict,
        **dict(begun),
    }
    if isinstance(draft, PromptDraft) and isinstance(begun.data, PromptData):
        return PromptPlan(recipe=draft.recipe, **shared)
    if isinstance(draft, TrainDraft) and isinstance(begun.data, TrainData):
        counts = begun.model.parameters
        return TrainPlan(
            recipe=draft.recipe,
            train=draft.train,
            batch=Batch.of(draft.recipe, draft.train.processes, begun.data.train.pairs),
            deepspeed=None if draft.deepspeed is None else sized(draft.deepspeed, counts.trainable if counts else None),
            **shared,
        )
    raise RunDirectoryError(
        f"the plan in {draft.run_dir} is not that of a {draft.recipe.kind} recipe (got data of another kind); restore "
        "it, or begin again with --fresh"
    )


def complete_comparison(draft: CompareDraft, origin: Origin) -> ComparePlan:
    """Return the plan of a comparison that was begun then."""
    systems = [
        ComparedRun(name=name, recipe_path=str(part.loaded.path), run_dir=str(part.run_dir))
        for name, part in draft.parts
    ]
    return ComparePlan(
        name=draft.name,
        identity=draft.identity,
        recipe_path=str(draft.loaded.path),
        recipe=draft.recipe,
        systems=systems,
        **dict(origin),
    )
