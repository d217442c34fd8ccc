"""The sections of a recipe: every key inside a mapping, and the entries of its lists.

Each field has a type, a bound, a unit where applicable, and a one-line description.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, JsonValue, Tag

from summtune.base.strict import StrictModel

Tokenizer = Literal["rouge", "unicode", "character"]
CURRENCY = "^[A-Z]{3}$"


class Section(StrictModel):
    """A part of a recipe or of a plan."""


class DatasetSource(Section):
    """Where dialogues come from, and which columns hold the dialogue, the summary and the id."""

    path: str = Field(
        min_length=1,
        description="Hub id, local folder, .jsonl/.json/.csv/.tsv/.parquet/.arrow file, or builtin/dialogues.",
    )
    name: str | None = Field(default=None, description="Configuration of a hub data set that has several.")
    split: str | None = Field(
        default=None, description="Split to read; default: train, validation or test, by key. Files have none."
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub data set.")
    type: Literal["columns", "messages"] = Field(
        default="columns",
        description="Dialogue and summary in separate columns, or as chat messages in one column.",
    )
    dialogue_field: str = Field(
        default="dialogue", description="Column that holds the dialogue, as text or as a list of turns."
    )
    summary_field: str | list[str] = Field(
        default="summary",
        description="Column that holds the summary, or a list of them; a list where several columns hold references.",
    )
    messages_field: str = Field(
        default="messages", description="Column that holds the messages of `type: messages`, such as conversations."
    )
    id_field: str | None = Field(default=None, description="Column that holds a unique id; default: <split>_<row>.")
    limit: int | None = Field(default=None, ge=1, description="Read only this many dialogues, from the start.")
    on_empty: Literal["error", "skip"] = Field(
        default="error",
        description="How to treat a row with an empty dialogue or no summary: as an error, or skip and count it.",
    )


class Exemplars(Section):
    """The examples that a one- or few-shot prompt shows before the dialogue."""

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
    show_as: Literal["turns", "text"] = Field(
        default="turns",
        description="How a chat shows them: as earlier user and assistant turns, or as text in the user turn.",
    )


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


class DevicePrice(Section):
    """What the devices of a run cost."""

    device_hour: float = Field(
        ge=0, le=1e6, description="Money per hour of a GPU or, without GPUs, of a process on the CPU."
    )
    currency: str = Field(default="USD", pattern=CURRENCY, description="ISO 4217 code, such as USD or EUR.")


class Generation(Section):
    """How summaries are generated."""

    engine: Literal["transformers", "vllm"] = Field(
        default="transformers",
        description="What generates with a model on this machine. vllm: a server that the run starts and ends, for "
        "decoder-only models on GPUs; see docs/vllm.md.",
    )
    max_new_tokens: int = Field(default=128, ge=1, le=4096, description="Maximum tokens of a summary.")
    num_beams: int = Field(default=1, ge=1, le=64, description="Beams; 1 is greedy. Cost and memory grow with it.")
    do_sample: bool = Field(default=False, description="Sample instead of taking the most probable token.")
    temperature: float = Field(default=1.0, gt=0, le=10, description="Sampling temperature; with do_sample.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling threshold; with do_sample.")
    length_penalty: float = Field(default=1.0, ge=-10, le=10, description="Above 1 favours long beams; with num_beams.")
    no_repeat_ngram_size: int = Field(
        default=0, ge=0, le=20, description="Forbid repeating n-grams of this size; 0: off."
    )
    stop: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Texts that end a summary; default: for a prompted decoder-only model without a chat template, "
        "what separates exemplars (a blank line).",
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
    """A system of a comparison that a recipe describes."""

    recipe: str = Field(min_length=1, description="Path of its recipe, relative to this file.")
    name: str | None = Field(default=None, min_length=1, description="Its name in tables; default: the file's name.")
    overrides: dict[str, Any] = Field(default={}, description="Keys to override in this recipe only; sections by dots.")


class ComparedPredictions(Section):
    """A system of a comparison whose outputs are in a file, such as published ones.

    They are scored on the test data of the recipes, with their evaluation settings.
    """

    predictions: str = Field(
        min_length=1,
        description="File of its outputs, relative to this file: a table with one output per row, or plain text with "
        "one per line in the order of the test data.",
    )
    name: str | None = Field(default=None, min_length=1, description="Its name in tables; default: the file's name.")
    prediction_field: str | None = Field(
        default=None, min_length=1, description="Column of the outputs; default: prediction."
    )
    id_field: str | None = Field(
        default=None,
        min_length=1,
        description="Column of the dialogues' ids; default: the id_field of the test data, or id.",
    )
    dialogue_field: str | None = Field(
        default=None,
        min_length=1,
        description="Column of the dialogues, which must be those of the test data; default: dialogue, if it exists.",
    )


COLUMN_KEYS = ("prediction_field", "id_field", "dialogue_field")
"""The keys of `ComparedPredictions` that name columns of the file."""


def _sort_of_system(value: object) -> str | None:
    """Return the class whose errors describe an entry of ``recipes``; None if it is of none."""
    if isinstance(value, (str, ComparedRecipe, ComparedPredictions)):
        return type(value).__name__
    if not isinstance(value, Mapping):
        return None
    names = {str(key) for key in value}
    meant = names.intersection(COLUMN_KEYS) or any(name.startswith("prediction") for name in names)
    return "ComparedPredictions" if "predictions" in names or ("recipe" not in names and meant) else "ComparedRecipe"


ComparedEntry: TypeAlias = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[ComparedRecipe, Tag("ComparedRecipe")]
    | Annotated[ComparedPredictions, Tag("ComparedPredictions")],
    Discriminator(_sort_of_system),
]
"""An entry of ``recipes``: the path of a recipe, a recipe with a name and overrides, or a file of outputs."""


def metric_name(source: str) -> str:
    """Return the name of a metric in results: the last part of its path, without ``.py``."""
    return PurePath(source).name.removesuffix(".py")
