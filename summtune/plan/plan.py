"""The plan: what a run will do, resolved once and written to plan.json; later stages never read the recipe file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from summtune.base.errors import RunDirectoryError
from summtune.generation.generator import LocalGeneratorName
from summtune.plan.beginning import Beginning, LocalBeginning, Model, Origin, PromptData, TrainData
from summtune.plan.keys import PromptKeys, TrainKeys
from summtune.plan.launch import Batch, Launch, StageGroup, stage_groups
from summtune.prompts.formats import MessagesFormat, PromptFormat, TextFormat
from summtune.prompts.templates import TEMPLATES
from summtune.recipe.adapters import Adapter, Quantization
from summtune.recipe.keys import CompareRecipe, EndpointRecipe, PromptRecipe, TrainRecipe
from summtune.recipe.sections import EvaluationSettings, Section
from summtune.runs.run_plan import PLAN_FILE, MadeBy, ReusableStage, read_plan_file


class _Plan(Origin):
    """What plans of all kinds have in common."""

    format: Literal[2] = 2
    kind: Literal["prompt", "train", "compare", "scored"]
    name: str = Field(description="of the recipe's file, or of a scored system")
    identity: str = Field(description="hash that names the run: of a model, the key of its evaluate stage")

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``plan.json``."""
        return self.model_dump(mode="json")


class _OfRun(_Plan):
    recipe_path: str
    fresh: bool = Field(default=False, description="begun with --fresh: reuses no stage of another run")
    reused: dict[ReusableStage, MadeBy] = Field(default={}, description="by stage, the run that made what it left")


class _OfLocalRun(_OfRun):
    model: Model
    generator: LocalGeneratorName = Field(default="local", description="what answers the prompts")
    predict: Launch = Field(description="how the prediction is started")


def _as_text(fields: dict[str, Any]) -> TextFormat:
    """Return the format of the prompts of a run that is older than it: its template as plain text."""
    template = fields["recipe"].prompt_template
    return TextFormat(template=TEMPLATES.get(template, template))


_PROMPT: Any = Field(default_factory=_as_text, description="how the prompts are written")


class PromptPlan(_OfLocalRun):
    """What the stages of a prompted model need."""

    kind: Literal["prompt"] = "prompt"
    recipe: PromptRecipe
    prompt: PromptFormat = _PROMPT
    keys: PromptKeys
    data: PromptData
    quantization: Quantization | None = Field(default=None, description="of the weights; None without")

    @property
    def stages(self) -> list[StageGroup]:
        """All stages, grouped by launch."""
        return stage_groups(None, self.predict)


class EndpointPlan(_OfRun):
    """What the stages of a prompted model behind an API need."""

    kind: Literal["prompt"] = "prompt"
    recipe: EndpointRecipe
    generator: Literal["endpoint"] = Field(default="endpoint", description="what answers the prompts")
    prompt: MessagesFormat = Field(description="how the prompts are written")
    keys: PromptKeys
    data: PromptData

    @property
    def stages(self) -> list[StageGroup]:
        """All stages; the command runs each of them."""
        return stage_groups(None, None)


class TrainPlan(_OfLocalRun):
    """What the stages of a training need."""

    kind: Literal["train"] = "train"
    recipe: TrainRecipe
    prompt: PromptFormat = _PROMPT
    keys: TrainKeys
    data: TrainData
    train: Launch = Field(description="how the training is started")
    batch: Batch
    adapter: Adapter | None = Field(discriminator="method", description="to train; None to train all weights")
    quantization: Quantization | None = Field(description="of the frozen weights under an adapter; None without")
    deepspeed: dict[str, Any] | None = Field(description="the DeepSpeed config that DeepSpeed reads; None without")
    pause_after: int | None = Field(
        default=None,
        description="optimizer step after which a training that has not resumed stops as upon a signal: a smoke run "
        "pauses there and resumes; None in any other run",
    )

    @property
    def stages(self) -> list[StageGroup]:
        """All stages, grouped by launch."""
        return stage_groups(self.train, self.predict)


class ComparedRun(Section):
    """A system of a comparison that a recipe describes: its name, recipe file and run directory."""

    name: str
    recipe_path: str
    run_dir: str


class ComparedOutputs(Section):
    """A system of a comparison whose outputs were scored: its name, their file and its run directory."""

    name: str
    predictions: str
    run_dir: str


class ComparePlan(_Plan):
    """What a comparison compares."""

    kind: Literal["compare"] = "compare"
    recipe_path: str
    recipe: CompareRecipe
    systems: list[ComparedRun | ComparedOutputs]


class Scoring(Section):
    """What `summtune evaluate` scored."""

    evaluation: EvaluationSettings
    predictions: str = Field(description="file with the outputs; - for standard input")
    references: str | None = Field(description="data sets they were matched with; None if the file contains them")
    prediction_field: str | None = Field(default=None, description="column of the outputs; None for the default")
    id_field: str | None = Field(default=None, description="column of the dialogues' ids; None for the default")
    predictions_sha256: str | None = Field(default=None, description="of the file's content; None if not known")


class ScoredPlan(_Plan):
    """How external outputs were scored."""

    kind: Literal["scored"] = "scored"
    recipe: Scoring


LocalPlan: TypeAlias = PromptPlan | TrainPlan
"""The plan of a run whose model runs in worker processes."""
RunPlan: TypeAlias = PromptPlan | EndpointPlan | TrainPlan
Plan: TypeAlias = PromptPlan | EndpointPlan | TrainPlan | ComparePlan | ScoredPlan


def _form(plan: Any) -> str | None:
    """Return what selects the class of a plan as read: its kind, or its generator where that is a server."""
    if not isinstance(plan, dict):
        return None
    kind, generator = plan.get("kind"), plan.get("generator")
    return "endpoint" if (kind, generator) == ("prompt", "endpoint") else kind


_PLAN: TypeAdapter[Plan] = TypeAdapter(
    Annotated[
        Annotated[PromptPlan, Tag("prompt")]
        | Annotated[EndpointPlan, Tag("endpoint")]
        | Annotated[TrainPlan, Tag("train")]
        | Annotated[ComparePlan, Tag("compare")]
        | Annotated[ScoredPlan, Tag("scored")],
        Discriminator(_form),
    ]
)


def origin_of(plan: Plan) -> Origin:
    """Return when and with which software a run or a comparison began."""
    return Origin(**{name: getattr(plan, name) for name in Origin.model_fields})


def beginning_of(plan: RunPlan) -> Beginning:
    """Return what a run recorded when it began."""
    kind = Beginning if isinstance(plan, EndpointPlan) else LocalBeginning
    return kind(**{name: getattr(plan, name) for name in kind.model_fields})


def launch_of(plan: LocalPlan, stage: str) -> Launch:
    """Return how the worker processes of a stage are started."""
    launch = next((group.launch for group in plan.stages if stage in group.names), None)
    assert launch is not None, f"no worker runs the stage {stage!r}"
    return launch


def read_plan(run_dir: Path) -> Plan:
    """Return the plan of a run directory.

    Raises:
        InputError: ``plan.json`` is not a regular file.
        OSError: it does not exist.
        RunDirectoryError: another version of summtune wrote it in another format, or it is damaged.
    """
    path = run_dir / PLAN_FILE
    text = read_plan_file(path)
    try:
        return _PLAN.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        found = f"{where}: {first['msg']}" if where else first["msg"]
        raise RunDirectoryError(
            f"{path} is not a valid plan for this version of summtune (got {found}); restore it, or run the "
            "recipe again in another directory"
        ) from None


def read_run_plan(run_dir: Path) -> RunPlan:
    """Return the plan of a prompted or trained model; see `read_plan`.

    Raises:
        RunDirectoryError: the directory contains a comparison or scored outputs.
    """
    plan = read_plan(run_dir)
    if isinstance(plan, (PromptPlan, EndpointPlan, TrainPlan)):
        return plan
    raise RunDirectoryError(f"not the run of a model (got kind {plan.kind} in {run_dir}); name a prompt or train run")


def read_local_plan(run_dir: Path) -> LocalPlan:
    """Return the plan of a run whose model is on this machine; see `read_plan`.

    Raises:
        RunDirectoryError: the directory contains something else.
    """
    plan = read_run_plan(run_dir)
    if isinstance(plan, EndpointPlan):
        raise RunDirectoryError(
            f"the model of this run is behind an API (got {plan.recipe.endpoint.model} in {run_dir}); name a run whose "
            "model is on this machine"
        )
    return plan
