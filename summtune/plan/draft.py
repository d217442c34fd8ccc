"""The draft of a plan: everything that is known before a run begins; its beginning completes it to the plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from summtune.base.errors import RunDirectoryError
from summtune.deepspeed.configs import sized
from summtune.machine.devices import Gpu
from summtune.machine.memory import MemoryEstimate
from summtune.machine.model_limits import config_of
from summtune.plan.beginning import (
    Beginning,
    LocalBeginning,
    Model,
    Origin,
    Parameters,
    PromptData,
    TrainData,
    origin_now,
)
from summtune.plan.keys import PromptKeys, TrainKeys
from summtune.plan.launch import Batch, Launch, StageGroup, stage_groups
from summtune.plan.models import planned_adapter
from summtune.plan.outputs import CheckedOutputs
from summtune.plan.plan import ComparedOutputs, ComparedRun, ComparePlan, EndpointPlan, PromptPlan, RunPlan, TrainPlan
from summtune.plan.prompt_format import messages_format, prompt_format
from summtune.plan.vllm import sharded
from summtune.recipe.adapters import Adapter, quantization_of, with_layers
from summtune.recipe.keys import CompareRecipe, EndpointRecipe, PromptRecipe, TrainRecipe
from summtune.recipe.loading import LoadedRecipe


@dataclass(frozen=True)
class _Draft:
    """What is known about a recipe of any kind.

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
class EndpointDraft(_Draft):
    """A prompt recipe with a model behind an API that is ready to run.

    Args:
        recipe: paths resolved.
        keys: of its stages.
        reuses: see `PromptDraft`.
    """

    recipe: EndpointRecipe
    keys: PromptKeys
    reuses: bool = True
    predict: None = None

    @property
    def stages(self) -> list[StageGroup]:
        """All stages; the command runs each of them."""
        return stage_groups(None, None)


@dataclass(frozen=True)
class _LocalDraft(_Draft):
    """What is known about a recipe whose model runs in worker processes.

    Args:
        model_folder: None until a hub model is downloaded.
        content_sha256: over the files of a local model; None for a hub model.
        parameters: of the model; None while they are not known.
        gpus: the visible devices of this machine; empty for a recipe that runs elsewhere.
        predict: how the prediction is launched.
    """

    model_folder: Path | None
    content_sha256: str | None
    parameters: Parameters | None
    gpus: tuple[Gpu, ...]
    predict: Launch


@dataclass(frozen=True)
class PromptDraft(_LocalDraft):
    """A prompt recipe that is ready to run.

    Args:
        recipe: paths resolved.
        keys: of its stages.
        reuses: whether it reuses stages of other runs; a smoke run measures all of them.
    """

    recipe: PromptRecipe
    keys: PromptKeys
    reuses: bool = True

    @property
    def stages(self) -> list[StageGroup]:
        """All stages, grouped by launch."""
        return stage_groups(None, self.predict)


@dataclass(frozen=True)
class TrainDraft(_LocalDraft):
    """A train recipe that is ready to run.

    Args:
        recipe: paths resolved.
        keys: of its stages.
        adapter: to train, on the layers of the model as far as they are known; None to train all weights.
        train: how the training is launched.
        deepspeed: the DeepSpeed config, filled in; None without one.
        bf16: whether the estimate assumes bfloat16.
        memory: that training needs on each device; None for a model of unknown shape.
        pause_after: see `TrainPlan`.
        reuses: see `PromptDraft`.
    """

    recipe: TrainRecipe
    keys: TrainKeys
    adapter: Adapter | None
    train: Launch
    deepspeed: dict[str, Any] | None
    bf16: bool
    memory: MemoryEstimate | None
    pause_after: int | None = None
    reuses: bool = True

    @property
    def stages(self) -> list[StageGroup]:
        """All stages, grouped by launch."""
        return stage_groups(self.train, self.predict)


LocalDraft: TypeAlias = PromptDraft | TrainDraft
RunDraft: TypeAlias = PromptDraft | EndpointDraft | TrainDraft


@dataclass(frozen=True)
class ScoredDraft:
    """A file of outputs that a comparison is ready to score.

    Args:
        outputs: the file, the name of its system, and what it is scored with.
        identity: hash that names the run.
        run_dir: absolute.
    """

    outputs: CheckedOutputs
    identity: str
    run_dir: Path


@dataclass(frozen=True)
class CompareDraft(_Draft):
    """A comparison that is ready to run: the name and the draft of each system."""

    recipe: CompareRecipe
    parts: tuple[tuple[str, RunDraft | ScoredDraft], ...]


Draft: TypeAlias = PromptDraft | EndpointDraft | TrainDraft | CompareDraft


def runs_of(draft: Draft) -> tuple[RunDraft, ...]:
    """Return the runs of a recipe: the run itself, or those of a comparison's recipes."""
    if isinstance(draft, CompareDraft):
        return tuple(part for _, part in draft.parts if not isinstance(part, ScoredDraft))
    return (draft,)


def machines_of(draft: Draft) -> int:
    """Return on how many machines the command is run; the nodes of a Slurm job do not count."""
    groups = [group for run in runs_of(draft) if run.recipe.launcher == "local" for group in run.stages]
    return max((group.launch.machines for group in groups if group.launch), default=1)


def begin(draft: RunDraft, model: Model | None, data: PromptData | TrainData, fresh: bool = False) -> RunPlan:
    """Return the plan of a run that begins now.

    Args:
        draft: of the run.
        model: on this machine; None for one behind an API.
        data: of the run.
        fresh: whether it reuses nothing of other runs.
    """
    shared = dict(origin_now(draft.loaded.path.parent)) | {"data": data, "fresh": fresh or not draft.reuses}
    return complete(draft, Beginning(**shared) if model is None else LocalBeginning(**shared, model=model))


def complete(draft: RunDraft, begun: Beginning) -> RunPlan:
    """Return the plan of a run: the layout of this draft, and what the run recorded when it began.

    A run that resumes on another layout has the launches and the batch of the new draft but the beginning of the old
    plan, because its complete stages used those versions and that data.

    Raises:
        RunDirectoryError: the beginning is that of a run of another kind.
    """
    shared: dict[str, Any] = {
        "name": draft.name,
        "identity": draft.identity,
        "recipe_path": str(draft.loaded.path),
        **dict(begun),
    }
    if isinstance(draft, EndpointDraft) and isinstance(begun.data, PromptData):
        return EndpointPlan(recipe=draft.recipe, keys=draft.keys, prompt=messages_format(draft.recipe), **shared)
    if isinstance(draft, EndpointDraft) or not isinstance(begun, LocalBeginning):
        raise _of_another_kind(draft)
    shared |= {
        "prompt": prompt_format(draft.recipe, Path(begun.model.folder), begun.created_at[:10]),
        "predict": draft.predict,
    }
    if draft.recipe.generation.engine == "vllm":
        shared |= {"generator": "vllm", "predict": sharded(draft.predict, config_of(Path(begun.model.folder)))}
    if isinstance(draft, PromptDraft) and isinstance(begun.data, PromptData):
        return PromptPlan(recipe=draft.recipe, keys=draft.keys, quantization=quantization_of(draft.recipe), **shared)
    if isinstance(draft, TrainDraft) and isinstance(begun.data, TrainData):
        counts = begun.model.parameters
        adapter = planned_adapter(draft.recipe, Path(begun.model.folder))
        return TrainPlan(
            recipe=with_layers(draft.recipe, adapter),
            keys=draft.keys,
            adapter=adapter,
            quantization=quantization_of(draft.recipe),
            train=draft.train,
            batch=Batch.of(draft.recipe, draft.train.processes, begun.data.train.pairs),
            deepspeed=None if draft.deepspeed is None else sized(draft.deepspeed, counts.trainable if counts else None),
            pause_after=draft.pause_after,
            **shared,
        )
    raise _of_another_kind(draft)


def _of_another_kind(draft: RunDraft) -> RunDirectoryError:
    return RunDirectoryError(
        f"the plan in {draft.run_dir} is not that of a {draft.recipe.kind} recipe (got data of another kind); restore "
        "it, or start from scratch with --fresh"
    )


def complete_comparison(draft: CompareDraft, origin: Origin) -> ComparePlan:
    """Return the plan of a comparison with the given origin."""
    systems = [
        ComparedOutputs(name=name, predictions=part.outputs.entry.predictions, run_dir=str(part.run_dir))
        if isinstance(part, ScoredDraft)
        else ComparedRun(name=name, recipe_path=str(part.loaded.path), run_dir=str(part.run_dir))
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
