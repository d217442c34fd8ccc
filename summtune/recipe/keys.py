"""The schema of every key of a recipe: the reference.

Each field has a type, a bound, a unit where applicable, and a one-line description. ``Use`` says for which kinds of
recipe a key has an effect; a key that would be ignored is an error (`summtune.recipe.rules`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Kind = Literal["prompt", "train", "compare"]
Tokenizer = Literal["rouge", "unicode", "character"]


@dataclass(frozen=True)
class Use:
    """Where a top-level key has an effect, and whether it is part of the identity of a run.

    Args:
        kinds: the kinds of recipe that read the key.
        identity: whether the key can change the result. Keys that only control where and how a run is executed, logged
            or saved are excluded, so that a repeated experiment finds its existing run.
    """

    kinds: frozenset[str]
    identity: bool = True


_ANY = Use(frozenset({"prompt", "train", "compare"}))
_RUNS = Use(frozenset({"prompt", "train"}))
_PROMPT = Use(frozenset({"prompt"}))
_TRAIN = Use(frozenset({"train"}))
_COMPARE = Use(frozenset({"compare"}))
_ANY_EXECUTION = Use(_ANY.kinds, identity=False)
_RUNS_EXECUTION = Use(_RUNS.kinds, identity=False)
_TRAIN_EXECUTION = Use(_TRAIN.kinds, identity=False)


class Section(BaseModel):
    """A part of a recipe: strict types, no unknown keys, finite numbers, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class DatasetSource(Section):
    """Where dialogues come from, and which columns hold the dialogue, the summary and the id."""

    path: str = Field(
        min_length=1,
        description="Hub id, local folder, .jsonl/.json/.csv/.tsv/.parquet/.arrow file, or builtin/dialogues.",
    )
    name: str | None = Field(default=None, description="Configuration of a hub data set that has several.")
    split: str | None = Field(
        default=None, description="Split to read; default: train for datasets, test for test_datasets. Files have none."
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub data set.")
    dialogue_field: str = Field(default="dialogue", description="Column that holds the dialogue.")
    summary_field: str | list[str] = Field(
        default="summary",
        description="Column that holds the summary, or a list of them; a list where several columns hold references.",
    )
    id_field: str | None = Field(default=None, description="Column that holds a unique id; default: <split>_<row>.")
    limit: int | None = Field(default=None, ge=1, description="Read only this many dialogues, from the start.")
    on_empty: Literal["error", "skip"] = Field(
        default="error",
        description="How to treat a row with an empty dialogue or no summary: as an error, or skip and count it.",
    )


class Exemplars(Section):
    """The solved examples that a one- or few-shot prompt shows before the dialogue."""

    split: str | None = Field(
        default=None,
        description="Split of `datasets` to take exemplars from; default: the split that `datasets` names.",
    )
    choose: Literal["first", "random", "similar", "ids"] = Field(
        default="random",
        description="The first of the split, a random draw for each dialogue (by seed), the most similar to each "
        "dialogue (TF-IDF), or those named in ids.",
    )
    ids: list[str] | None = Field(default=None, min_length=1, description="Ids for `choose: ids`; exactly `shots` ids.")


class Slurm(Section):
    """The resources and options of the job when `launcher: slurm`."""

    partition: str | None = Field(default=None, description="Partition (queue).")
    account: str | None = Field(default=None, description="Account to charge.")
    time: str | None = Field(default=None, description="Time limit, as sbatch reads it: '12:00:00'.")
    nodes: int = Field(default=1, ge=1, le=4096, description="Number of nodes.")
    gpus_per_node: int | None = Field(
        default=None, ge=0, le=64, description="GPUs per node, one process each; none: one process on the CPU."
    )
    gpu_type: str | None = Field(
        default=None, min_length=1, description="Type of these GPUs, by the cluster's name for it: a100; default: any."
    )
    cpus_per_node: int | None = Field(
        default=None, ge=1, le=4096, description="CPU cores per node; many clusters give one unless asked for more."
    )
    constraint: str | None = Field(default=None, description="Node features to request.")
    stop_seconds: int = Field(
        default=120,
        ge=10,
        le=65_535,
        description="Seconds before the time limit at which a checkpoint is written and the job requeued; must be long "
        "enough for one step and one checkpoint.",
    )
    extra: list[str] = Field(
        default=[], description="Further sbatch options, without #SBATCH: '--mem=200G'; only those without a key here."
    )
    setup: list[str] = Field(default=[], description="Shell lines to run before the stages: 'module load cuda'.")


class Generation(Section):
    """How summaries are generated."""

    max_new_tokens: int = Field(default=128, ge=1, le=4096, description="Maximum tokens of a summary.")
    num_beams: int = Field(default=1, ge=1, le=64, description="Beams; 1 is greedy. Cost and memory grow with it.")
    do_sample: bool = Field(default=False, description="Sample instead of taking the most probable token.")
    temperature: float = Field(default=1.0, gt=0, le=10, description="Sampling temperature; with do_sample.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling threshold; with do_sample.")
    length_penalty: float = Field(default=1.0, ge=-10, le=10, description="Above 1 favours long beams; with num_beams.")
    no_repeat_ngram_size: int = Field(
        default=0, ge=0, le=20, description="Forbid repeating n-grams of this size; 0: off."
    )
    batch_size: int = Field(default=16, ge=1, le=4096, description="Dialogues summarized together on each device.")


class EvaluationSettings(Section):
    """How predictions are scored."""

    metrics: list[str] = Field(
        default=["rouge1", "rouge2", "rougeL", "rougeLsum"],
        min_length=1,
        description="rouge1, rouge2, rougeL, rougeLsum, or the name or folder of a metric of the evaluate library.",
    )
    metric_arguments: dict[str, dict[str, JsonValue]] = Field(
        default={},
        description="Arguments of a metric's computation, by the metric's name; values that start with ./, ../ or ~/ "
        "are paths.",
    )
    tokenizer: Tokenizer = Field(
        default="rouge",
        description="How ROUGE splits words. rouge: as rouge_score does, only a-z and 0-9; unicode: words of any "
        "script; character: each character, for Chinese, Japanese, Thai and other scripts without spaces.",
    )
    use_stemmer: bool = Field(
        default=True,
        description="Apply the English Porter stemmer to words of the letters a-z before ROUGE compares them.",
    )
    split_sentences: bool = Field(
        default=True,
        description="rougeLsum splits text into sentences; false: into lines, as rouge_score does.",
    )
    references: Literal["mean", "max"] = Field(
        default="mean", description="Score of a dialogue with several references: the mean over them, or the best."
    )
    bootstrap_samples: int = Field(default=1000, ge=100, le=100_000, description="Number of resamples per interval.")
    bootstrap_seed: int = Field(
        default=42,
        ge=0,
        lt=2**32,
        description="Seed of the resamples; separate from `seed`, so that runs with different seeds are comparable.",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence level of the intervals.")


class ComparedRecipe(Section):
    """One system of a comparison."""

    recipe: str = Field(min_length=1, description="Path of its recipe, relative to this file.")
    name: str | None = Field(default=None, min_length=1, description="Its name in tables; default: the file's name.")
    overrides: dict[str, Any] = Field(default={}, description="Keys to override in this recipe only; sections by dots.")


class Recipe(Section):
    """Every key of a recipe."""

    # What
    kind: Annotated[Kind, _ANY] = Field(description="prompt a model, train one, or compare the results of recipes.")
    base_model: Annotated[str | None, _RUNS] = Field(
        default=None, description="Encoder-decoder model: hub id, local folder, or builtin/flan-t5-nano."
    )
    revision_of_model: Annotated[str | None, _RUNS] = Field(
        default=None, description="Branch, tag or commit of a hub model."
    )
    seed: Annotated[int, _RUNS] = Field(default=42, ge=0, lt=2**32, description="Seed of everything random.")
    output_dir: Annotated[str | None, _ANY_EXECUTION] = Field(
        default=None, description="Run directory; default: outputs/<recipe name>-<8 hex digits>."
    )

    # Data
    datasets: Annotated[list[DatasetSource] | None, _RUNS] = Field(
        default=None, min_length=1, description="Training data; for prompts, where exemplars come from."
    )
    test_datasets: Annotated[list[DatasetSource] | None, _RUNS] = Field(
        default=None, min_length=1, description="Dialogues to summarize and score."
    )
    val_set_size: Annotated[int | float, _TRAIN] = Field(
        default=0,
        ge=0,
        description="Dialogues held out from `datasets` for the evaluation loss: a count, or a fraction below 1.",
    )

    # Prompt
    prompt_template: Annotated[str, _RUNS] = Field(
        default="summarize", min_length=1, description="A named template, or text with {dialogue} in it."
    )
    shots: Annotated[int, _PROMPT] = Field(default=0, ge=0, le=32, description="Solved examples shown in the prompt.")
    exemplars: Annotated[Exemplars, _PROMPT] = Field(default=Exemplars(), description="How the examples are chosen.")

    # Lengths
    sequence_len: Annotated[int, _RUNS] = Field(
        default=512, ge=16, le=65_536, description="Maximum tokens of a prompt."
    )
    target_len: Annotated[int, _TRAIN] = Field(
        default=128, ge=4, le=8192, description="Maximum tokens of a summary in training."
    )
    long_dialogues: Annotated[Literal["truncate_end", "truncate_start", "drop"], _RUNS] = Field(
        default="truncate_end",
        description="What to do with a dialogue whose prompt exceeds sequence_len: cut its end, cut its start, or "
        "(in training) leave it out. All of them are counted.",
    )

    # Training
    adapter: Annotated[Literal["lora", "qlora"] | None, _TRAIN] = Field(
        default=None, description="Train a low-rank adapter instead of all weights; qlora: on a 4-bit base (CUDA)."
    )
    lora_r: Annotated[int, _TRAIN] = Field(default=32, ge=1, le=1024, description="Rank of the adapter.")
    lora_alpha: Annotated[int, _TRAIN] = Field(default=32, ge=1, le=8192, description="Scales updates by alpha / r.")
    lora_dropout: Annotated[float, _TRAIN] = Field(default=0.05, ge=0, lt=1, description="Dropout before the adapter.")
    lora_target_modules: Annotated[list[str], _TRAIN] = Field(
        default=["q", "v"], min_length=1, description="Layers that get an adapter, by the end of their name."
    )
    peft_use_dora: Annotated[bool, _TRAIN] = Field(default=False, description="DoRA: learn magnitudes separately.")
    peft_use_rslora: Annotated[bool, _TRAIN] = Field(default=False, description="rsLoRA: scale by alpha / sqrt(r).")
    micro_batch_size: Annotated[int, _TRAIN_EXECUTION] = Field(
        default=8, ge=1, le=65_536, description="Dialogues per device and forward pass. Memory grows with it."
    )
    gradient_accumulation_steps: Annotated[int, _TRAIN_EXECUTION] = Field(
        default=1,
        ge=1,
        le=65_536,
        description="Micro-batches accumulated per step. Global batch size = micro_batch_size × this × processes.",
    )
    num_epochs: Annotated[int | float, _TRAIN] = Field(default=3, gt=0, le=10_000, description="Passes over the data.")
    max_steps: Annotated[int | None, _TRAIN] = Field(
        default=None, ge=1, description="Optimizer steps, instead of epochs."
    )
    learning_rate: Annotated[float | None, _TRAIN] = Field(
        default=None,
        gt=0,
        le=10,
        description="Peak learning rate; required. About 1e-4 for all weights, 1e-3 for LoRA.",
    )
    lr_scheduler: Annotated[Literal["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"], _TRAIN] = (
        Field(default="linear", description="How the learning rate decays after the warm-up.")
    )
    warmup_ratio: Annotated[float, _TRAIN] = Field(
        default=0.0, ge=0, lt=1, description="Warm-up as a fraction of all steps."
    )
    warmup_steps: Annotated[int, _TRAIN] = Field(default=0, ge=0, description="Warm-up in steps.")
    weight_decay: Annotated[float, _TRAIN] = Field(default=0.0, ge=0, lt=1, description="Decoupled weight decay.")
    max_grad_norm: Annotated[float, _TRAIN] = Field(
        default=1.0, ge=0, description="Clip the norm of the global gradient at this; 0: off."
    )
    optimizer: Annotated[Literal["adamw_torch_fused", "adamw_torch", "adafactor", "sgd"], _TRAIN] = Field(
        default="adamw_torch_fused", description="Optimizer. Adafactor keeps less state, so it needs less memory."
    )
    bf16: Annotated[bool | Literal["auto"], _RUNS] = Field(
        default="auto", description="Compute in bfloat16; auto: if the hardware supports it. fp16 overflows in T5."
    )
    tf32: Annotated[bool, _TRAIN] = Field(default=False, description="TensorFloat-32 in fp32 matmuls (CUDA).")
    gradient_checkpointing: Annotated[bool, _TRAIN_EXECUTION] = Field(
        default=False, description="Recompute activations: much less memory, about a third more time."
    )
    torch_compile: Annotated[bool, _TRAIN_EXECUTION] = Field(
        default=False, description="Compile the model; pays off after minutes of warm-up."
    )
    group_by_length: Annotated[bool, _TRAIN] = Field(
        default=True, description="Batch dialogues of similar length: much less padding, a slightly less random order."
    )
    early_stopping_patience: Annotated[int | None, _TRAIN] = Field(
        default=None, ge=1, description="Stop after this many evaluations without a better loss; needs val_set_size."
    )
    eval_steps: Annotated[int | None, _TRAIN] = Field(
        default=None, ge=1, description="Steps between evaluations; default: each epoch. Needs val_set_size."
    )
    save_steps: Annotated[int | None, _TRAIN_EXECUTION] = Field(
        default=None, ge=1, description="Steps between checkpoints; default: as eval_steps, else each epoch."
    )
    save_total_limit: Annotated[int, _TRAIN_EXECUTION] = Field(
        default=2, ge=1, le=1000, description="Checkpoints to keep, in addition to the best one."
    )
    logging_steps: Annotated[int, _TRAIN_EXECUTION] = Field(
        default=10, ge=1, description="Steps between lines of train_log.jsonl."
    )

    # Launching
    deepspeed: Annotated[str | None, _TRAIN_EXECUTION] = Field(
        default=None, min_length=1, description="Path of a DeepSpeed config, such as ds_configs/zero2.json."
    )
    num_processes: Annotated[int | None, _RUNS_EXECUTION] = Field(
        default=None, ge=1, le=65_536, description="Total processes; default: one per visible GPU, or one on the CPU."
    )
    num_machines: Annotated[int, _RUNS_EXECUTION] = Field(
        default=1, ge=1, le=4096, description="Machines, without a scheduler; see docs/clusters.md."
    )
    launcher: Annotated[Literal["local", "slurm"], _RUNS_EXECUTION] = Field(
        default="local", description="Start the processes on this machine, or as a Slurm job."
    )
    slurm: Annotated[Slurm | None, _RUNS_EXECUTION] = Field(default=None, description="The Slurm job.")

    # Generation and evaluation
    generation: Annotated[Generation, _RUNS] = Field(default=Generation(), description="How summaries are generated.")
    evaluation: Annotated[EvaluationSettings, _RUNS] = Field(
        default=EvaluationSettings(), description="How predictions are scored."
    )

    # Tracking
    wandb_project: Annotated[str | None, _TRAIN_EXECUTION] = Field(default=None, description="Log to this W&B project.")
    wandb_entity: Annotated[str | None, _TRAIN_EXECUTION] = Field(default=None, description="W&B team or user.")
    wandb_name: Annotated[str | None, _TRAIN_EXECUTION] = Field(default=None, description="W&B run name.")
    wandb_mode: Annotated[Literal["online", "offline"] | None, _TRAIN_EXECUTION] = Field(
        default=None, description="W&B mode; offline writes files to sync later."
    )
    use_tensorboard: Annotated[bool, _TRAIN_EXECUTION] = Field(
        default=False, description="Write TensorBoard events into the run directory."
    )
    mlflow_tracking_uri: Annotated[str | None, _TRAIN_EXECUTION] = Field(
        default=None, description="Log to MLflow here."
    )
    mlflow_experiment_name: Annotated[str | None, _TRAIN_EXECUTION] = Field(
        default=None, description="MLflow experiment."
    )

    # Compare
    recipes: Annotated[list[str | ComparedRecipe] | None, _COMPARE] = Field(
        default=None, min_length=2, description="The systems: paths of recipes, or {recipe, name, overrides}."
    )
    overrides: Annotated[dict[str, Any], _COMPARE] = Field(
        default={},
        description="Keys to override in every recipe that reads them, sections by dots; null removes a key.",
    )
    baseline: Annotated[str | None, _COMPARE] = Field(
        default=None, description="Name of the system to compare the others with; default: the first."
    )

    def as_given_for_kind(self) -> dict[str, Any]:
        """Return every key that this kind reads, defaults filled in: the resolved recipe."""
        values: dict[str, Any] = self.model_dump(mode="json")
        return {key: value for key, value in values.items() if self.kind in use_of(key).kinds}


def metric_name(source: str) -> str:
    """Return the name of a metric in results: the last part of its path, without ``.py``."""
    return PurePath(source).name.removesuffix(".py")


def use_of(key: str) -> Use:
    """Return where the top-level ``key`` has an effect."""
    return next(item for item in Recipe.model_fields[key].metadata if isinstance(item, Use))
