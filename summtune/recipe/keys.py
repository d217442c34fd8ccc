"""The schema of every top-level key of a recipe, by form: the reference.

A recipe has one of four forms, selected by ``kind`` and, for a prompted model, by the key ``endpoint``; each has only
the keys that it reads. Each field has a type, a bound, a unit where applicable, and a one-line description. A required
key also has an example, which replaces a missing value while the rest of the recipe is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, JsonValue

from summtune.recipe.endpoint import Endpoint
from summtune.recipe.sections import (
    ComparedEntry,
    DatasetSource,
    DevicePrice,
    EvaluationSettings,
    Exemplars,
    Generation,
    Section,
    Slurm,
)

Kind = Literal["prompt", "train", "compare"]
Form = Literal["prompt", "endpoint", "train", "compare"]
"""What selects the keys of a recipe: its kind, or the section ``endpoint`` of a prompted model."""
AdapterName = Literal["lora", "qlora", "ia3", "prompt_tuning"]
CHAT_TEMPLATES = ("auto", "tokenizer", "none")
"""Values of ``chat_template`` that are not the path of a file."""
EXECUTION = "execution"
"""Marks a key that controls where and how a run is executed, logged or saved, and cannot change its result.

Such keys are not part of the identity of a run, so that a repeated experiment finds its existing run. Every other key
belongs to the first stage that reads it (`summtune.plan.keys.FIRST_READ_BY`).
"""
_KIND = "prompt a model, train one, or compare the results of recipes."
_DATASETS = "Training data; for prompts, where exemplars come from."
# Keys that a training also has without a model.
_SEQUENCE_LEN: Any = Field(default=512, ge=16, le=65_536, description="Maximum tokens of a prompt.")
_BF16: Any = Field(
    default="auto", description="Compute in bfloat16; auto: if the hardware supports it. fp16 overflows in T5."
)

_SEED: Any = Field(default=42, ge=0, lt=2**32, description="Seed of everything random.")
_TEST_DATASETS: Any = Field(
    min_length=1, description="Dialogues to summarize and score.", examples=[[{"path": "builtin/dialogues"}]]
)
_PROMPT_TEMPLATE: Any = Field(
    default="summarize", min_length=1, description="A named template, or text with {dialogue} in it."
)
_SYSTEM_PROMPT: Any = Field(default=None, min_length=1, description="System turn of a chat.")
_SHOTS: Any = Field(default=0, ge=0, le=32, description="Solved examples shown in the prompt.")
_EXEMPLARS: Any = Field(default=Exemplars(), description="How the examples are chosen.")
_GENERATION: Any = Field(default=Generation(), description="How summaries are generated.")
_EVALUATION: Any = Field(default=EvaluationSettings(), description="How predictions are scored.")
_LOAD_IN_4BIT: Any = Field(
    default=None,
    description="Keep the frozen weights in four bits (nf4, as in QLoRA; needs bitsandbytes): of a prompted model, or "
    "under an adapter. With `adapter: lora` it is the same as `adapter: qlora`.",
)


class _EveryRecipe(Section):
    kind: Kind = Field(description=_KIND)
    output_dir: Annotated[str | None, EXECUTION] = Field(
        default=None, description="Run directory; default: outputs/<recipe name>-<8 hex digits>."
    )


class _RunRecipe(_EveryRecipe):
    # What
    base_model: str = Field(
        description="Encoder-decoder or decoder-only model: hub id, local folder, or builtin/flan-t5-nano.",
        examples=["google/flan-t5-base"],
    )
    revision_of_model: str | None = Field(default=None, description="Branch, tag or commit of a hub model.")
    seed: int = _SEED

    # Data
    datasets: list[DatasetSource] | None = Field(default=None, min_length=1, description=_DATASETS)
    test_datasets: list[DatasetSource] = _TEST_DATASETS

    # Prompt
    prompt_template: str = _PROMPT_TEMPLATE
    chat_template: str = Field(
        default="auto",
        min_length=1,
        description="What writes the turns of a decoder-only model. auto: the tokenizer's chat template where it has "
        "one, else plain text; tokenizer: its chat template; none: plain text; or the path of a Jinja file.",
    )
    system_prompt: str | None = _SYSTEM_PROMPT
    chat_template_kwargs: dict[str, JsonValue] = Field(
        default={}, description="Arguments of the chat template; enable_thinking is false unless set."
    )

    # Lengths
    sequence_len: int = _SEQUENCE_LEN
    long_dialogues: Literal["truncate_end", "truncate_start", "drop"] = Field(
        default="truncate_end",
        description="What to do with a dialogue whose prompt exceeds sequence_len: cut its end, cut its start, or "
        "(in training) leave it out. All of them are counted.",
    )

    # Training
    bf16: bool | Literal["auto"] = _BF16
    load_in_4bit: bool | None = _LOAD_IN_4BIT

    # Launching
    num_processes: Annotated[int | None, EXECUTION] = Field(
        default=None, ge=1, le=65_536, description="Total processes; default: one per visible GPU, or one on the CPU."
    )
    num_machines: Annotated[int, EXECUTION] = Field(
        default=1, ge=1, le=4096, description="Machines, without a scheduler; see docs/clusters.md."
    )
    launcher: Annotated[Literal["local", "slurm"], EXECUTION] = Field(
        default="local", description="Start the processes on this machine, or as a Slurm job."
    )
    slurm: Annotated[Slurm | None, EXECUTION] = Field(default=None, description="The Slurm job.")
    price: Annotated[DevicePrice | None, EXECUTION] = Field(
        default=None, description="What a device costs, for the report; default: not known."
    )

    # Generation and evaluation
    generation: Generation = _GENERATION
    evaluation: EvaluationSettings = _EVALUATION


class PromptRecipe(_RunRecipe):
    """Prompts a model as it is."""

    kind: Literal["prompt"] = Field(description=_KIND)

    # Prompt
    shots: int = _SHOTS
    exemplars: Exemplars = _EXEMPLARS


class EndpointRecipe(_EveryRecipe):
    """Prompts a model behind an API, which knows neither the model's files nor its tokens."""

    kind: Literal["prompt"] = Field(description=_KIND)

    # What
    endpoint: Endpoint = Field(
        description="An OpenAI-compatible server, in place of base_model.",
        examples=[{"url": "http://localhost:8000/v1", "model": "model"}],
    )
    seed: int = _SEED

    # Data
    datasets: list[DatasetSource] | None = Field(default=None, min_length=1, description=_DATASETS)
    test_datasets: list[DatasetSource] = _TEST_DATASETS

    # Prompt
    prompt_template: str = _PROMPT_TEMPLATE
    system_prompt: str | None = _SYSTEM_PROMPT
    shots: int = _SHOTS
    exemplars: Exemplars = _EXEMPLARS

    # Generation and evaluation
    generation: Generation = _GENERATION
    evaluation: EvaluationSettings = _EVALUATION

    @property
    def launcher(self) -> Literal["local"]:
        """Where its stages run: in the command itself."""
        return "local"


class TrainingSettings(Section):
    """How a training goes, apart from the model and the data: all that its memory depends on, and more."""

    # Data
    val_set_size: int | float = Field(
        default=0,
        ge=0,
        description="Dialogues held out from `datasets` for the evaluation loss: a count, or a fraction below 1.",
    )
    val_datasets: list[DatasetSource] | None = Field(
        default=None,
        min_length=1,
        description="Data for the evaluation loss, instead of val_set_size; default split: validation.",
    )

    # Lengths
    sequence_len: int = _SEQUENCE_LEN
    target_len: int = Field(
        default=128, ge=4, le=8192, description="Maximum tokens of a summary in training; a longer one is an error."
    )

    # Training
    bf16: bool | Literal["auto"] = _BF16
    load_in_4bit: bool | None = _LOAD_IN_4BIT
    adapter: AdapterName | None = Field(
        default=None,
        description="Train an adapter instead of all weights. lora: low-rank matrices; qlora: the same on a 4-bit "
        "base; ia3: factors of layers' outputs and inputs, far fewer weights; prompt_tuning: embeddings in front of "
        "every prompt.",
    )
    lora_r: int = Field(default=32, ge=1, le=1024, description="Rank of the adapter.")
    lora_alpha: int = Field(default=32, ge=1, le=8192, description="Scales updates by alpha / r.")
    lora_dropout: float = Field(default=0.05, ge=0, lt=1, description="Dropout before the adapter.")
    lora_target_modules: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Layers that get an adapter, by the end of their name. Default: an encoder-decoder model's queries "
        "and values (q and v in T5), a decoder-only model's linear layers without the head.",
    )
    lora_target_linear: bool | None = Field(
        default=None,
        description="true: all linear layers but the head get an adapter; false: the queries and values do.",
    )
    peft_use_dora: bool = Field(default=False, description="DoRA: learn magnitudes separately.")
    peft_use_rslora: bool = Field(default=False, description="rsLoRA: scale by alpha / sqrt(r).")
    peft_init_lora_weights: (
        Literal[
            "gaussian", "olora", "pissa", "pissa_niter_2", "pissa_niter_4", "pissa_niter_8", "pissa_niter_16",
            "pissa_niter_32",
        ]
        | None
    ) = Field(
        default=None,
        description="First values of the matrices. pissa: the largest singular vectors of each weight, or an "
        "approximation of them in so many iterations; olora: its QR decomposition; gaussian: random, without effect at "
        "first, as by default.",
    )  # fmt: skip
    loraplus_lr_ratio: float | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="LoRA+: the matrices that begin at zero (lora_B) learn at so many times learning_rate.",
    )
    ia3_target_modules: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Layers that (IA)³ scales, by the end of their name; default: the model's keys, values and last "
        "feed-forward layers, which are k, v and wo in T5.",
    )
    ia3_feedforward_modules: list[str] | None = Field(
        default=None,
        description="Those of them whose inputs are scaled, not their outputs; default: the last feed-forward layers.",
    )
    num_virtual_tokens: int = Field(
        default=20, ge=1, le=4096, description="Tokens that prompt_tuning puts in front of every prompt."
    )
    prompt_tuning_init_text: str | None = Field(
        default=None,
        min_length=1,
        description="Text whose tokens the virtual tokens begin as, repeated or cut; default: drawn from the "
        "vocabulary.",
    )
    micro_batch_size: Annotated[int, EXECUTION] = Field(
        default=8, ge=1, le=65_536, description="Dialogues per device and forward pass. Memory grows with it."
    )
    gradient_accumulation_steps: Annotated[int, EXECUTION] = Field(
        default=1,
        ge=1,
        le=65_536,
        description="Micro-batches accumulated per step. Global batch size = micro_batch_size × this × processes.",
    )
    num_epochs: int | float = Field(default=3, gt=0, le=10_000, description="Passes over the data.")
    max_steps: int | None = Field(default=None, ge=1, description="Optimizer steps, instead of epochs.")
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"] = Field(
        default="linear", description="How the learning rate decays after the warm-up."
    )
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1, description="Warm-up as a fraction of all steps.")
    warmup_steps: int = Field(default=0, ge=0, description="Warm-up in steps.")
    weight_decay: float = Field(default=0.0, ge=0, lt=1, description="Decoupled weight decay.")
    max_grad_norm: float = Field(default=1.0, ge=0, description="Clip the norm of the global gradient at this; 0: off.")
    optimizer: Literal["adamw_torch_fused", "adamw_torch", "adafactor", "sgd"] = Field(
        default="adamw_torch_fused", description="Optimizer. Adafactor keeps less state, so it needs less memory."
    )
    tf32: bool = Field(default=False, description="TensorFloat-32 in fp32 matmuls (CUDA).")
    gradient_checkpointing: Annotated[bool, EXECUTION] = Field(
        default=False, description="Recompute activations: much less memory, about a third more time."
    )
    torch_compile: Annotated[bool, EXECUTION] = Field(
        default=False, description="Compile the model; pays off after minutes of warm-up."
    )
    group_by_length: bool = Field(
        default=True, description="Batch dialogues of similar length: much less padding, a slightly less random order."
    )
    early_stopping_patience: int | None = Field(
        default=None, ge=1, description="Stop after this many evaluations without a better loss; needs validation data."
    )
    eval_steps: int | None = Field(
        default=None, ge=1, description="Steps between evaluations; default: each epoch. Needs validation data."
    )
    save_steps: Annotated[int | None, EXECUTION] = Field(
        default=None, ge=1, description="Steps between checkpoints; default: as eval_steps, else each epoch."
    )
    save_total_limit: Annotated[int, EXECUTION] = Field(
        default=2, ge=1, le=1000, description="Checkpoints to keep, in addition to the best one."
    )
    logging_steps: Annotated[int, EXECUTION] = Field(
        default=10, ge=1, description="Steps between lines of train_log.jsonl."
    )

    # Launching
    deepspeed: Annotated[str | None, EXECUTION] = Field(
        default=None, min_length=1, description="Path of a DeepSpeed config, such as ds_configs/zero2.json."
    )

    # Tracking
    wandb_project: Annotated[str | None, EXECUTION] = Field(default=None, description="Log to this W&B project.")
    wandb_entity: Annotated[str | None, EXECUTION] = Field(default=None, description="W&B team or user.")
    wandb_name: Annotated[str | None, EXECUTION] = Field(default=None, description="W&B run name.")
    wandb_mode: Annotated[Literal["online", "offline"] | None, EXECUTION] = Field(
        default=None, description="W&B mode; offline writes files to sync later."
    )
    use_tensorboard: Annotated[bool, EXECUTION] = Field(
        default=False, description="Write TensorBoard events into the run directory."
    )
    mlflow_tracking_uri: Annotated[str | None, EXECUTION] = Field(default=None, description="Log to MLflow here.")
    mlflow_experiment_name: Annotated[str | None, EXECUTION] = Field(default=None, description="MLflow experiment.")

    @property
    def validates(self) -> bool:
        """Whether there is validation data: held out, or separate."""
        return self.val_set_size > 0 or self.val_datasets is not None


class _TrainRecipe(_RunRecipe):
    # Data
    datasets: list[DatasetSource] = Field(
        min_length=1, description=_DATASETS, examples=[[{"path": "builtin/dialogues"}]]
    )

    # Training
    learning_rate: float = Field(
        gt=0,
        le=10,
        description="Peak learning rate. About 1e-4 for all weights, 1e-3 for LoRA, 3e-3 for (IA)³, 3e-2 for prompt "
        "tuning.",
        examples=[1e-4],
    )


class TrainRecipe(TrainingSettings, _TrainRecipe):  # in this order: the keys of the last base come first
    """Fine-tunes a model, fully or with an adapter, and prompts what comes out."""

    kind: Literal["train"] = Field(description=_KIND)


class CompareRecipe(_EveryRecipe):
    """Compares the results of other recipes."""

    kind: Literal["compare"] = Field(description=_KIND)

    # Compare
    recipes: list[ComparedEntry] = Field(
        min_length=2,
        description="The systems: paths of recipes, {recipe, name, overrides}, or files of outputs such as published "
        "ones, {predictions, name, …}.",
        examples=[["zero_shot.yaml", "lora.yaml"]],
    )
    overrides: dict[str, Any] = Field(
        default={},
        description="Keys to override in every recipe that reads them, sections by dots; null removes a key.",
    )
    baseline: str | None = Field(
        default=None, description="Name of the system to compare the others with; default: the first."
    )


LocalRecipe: TypeAlias = PromptRecipe | TrainRecipe
"""A recipe whose model runs in worker processes."""
RunRecipe: TypeAlias = PromptRecipe | EndpointRecipe | TrainRecipe
Recipe: TypeAlias = PromptRecipe | EndpointRecipe | TrainRecipe | CompareRecipe
RECIPES: dict[Form, type[PromptRecipe] | type[EndpointRecipe] | type[TrainRecipe] | type[CompareRecipe]] = {
    "prompt": PromptRecipe,
    "endpoint": EndpointRecipe,
    "train": TrainRecipe,
    "compare": CompareRecipe,
}
"""The recipes by form."""
FORMS_OF: dict[str, tuple[Form, ...]] = {
    key: tuple(form for form, recipe in RECIPES.items() if key in recipe.model_fields)
    for every in RECIPES.values()
    for key in every.model_fields
}
"""Every top-level key, and the forms that read it."""
KIND_OF: dict[Form, Kind] = {"prompt": "prompt", "endpoint": "prompt", "train": "train", "compare": "compare"}
"""The kind of each form."""


def form_of(values: Mapping[str, Any]) -> Form | None:
    """Return the form of a recipe as written; None if its kind is not known."""
    kind = values.get("kind")
    if kind == "prompt" and values.get("endpoint") is not None:
        return "endpoint"
    return next((form for form in RECIPES if form == kind and form != "endpoint"), None)


def form_of_recipe(recipe: Recipe) -> Form:
    """Return the form of a recipe."""
    return next(form for form, each in RECIPES.items() if type(recipe) is each)


def required_keys(form: Form) -> list[str]:
    """Return the keys without which there is no recipe of this form, ``kind`` itself excluded."""
    return [key for key, field in RECIPES[form].model_fields.items() if field.is_required() and key != "kind"]


def identity_keys(recipe: Recipe) -> list[str]:
    """Return the keys of a recipe that can change its result."""
    return [key for key, field in type(recipe).model_fields.items() if EXECUTION not in field.metadata]


def data_keys(recipe: RunRecipe) -> list[tuple[str, list[DatasetSource]]]:
    """Return the keys of a recipe that list data sets and are given, with their data sets."""
    keys = [("datasets", recipe.datasets), ("test_datasets", recipe.test_datasets)]
    if isinstance(recipe, TrainRecipe):
        keys.append(("val_datasets", recipe.val_datasets))
    return [(key, sources) for key, sources in keys if sources is not None]
