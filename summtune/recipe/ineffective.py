"""Finds keys of a recipe that would have no effect.

A key that is set and then ignored is the most expensive mistake of an experiment, because nothing shows it.
Each rule is one line of a table: the key, when it has no effect, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from typing_extensions import assert_never

from summtune.base.file_endings import is_table
from summtune.base.hints import hint_or_list
from summtune.recipe.adapters import keys_of_adapters
from summtune.recipe.document import KeyPath
from summtune.recipe.keys import (
    FORMS_OF,
    KIND_OF,
    CompareRecipe,
    EndpointRecipe,
    LocalRecipe,
    PromptRecipe,
    Recipe,
    TrainRecipe,
    data_keys,
    form_of_recipe,
)
from summtune.recipe.sections import (
    COLUMN_KEYS,
    ComparedPredictions,
    DatasetSource,
    EvaluationSettings,
    Generation,
    metric_name,
)

SECTIONS = ("generation", "evaluation", "exemplars", "slurm", "endpoint", "price")
"""Keys that contain other keys."""

_R = TypeVar("_R")
# key path, the key that it depends on, whether it has no effect in this recipe, why and what to do
_Rule: TypeAlias = tuple[str, str, Callable[[_R], bool], str]


class HasEvaluation(Protocol):
    """What has an evaluation section."""

    @property
    def evaluation(self) -> EvaluationSettings:
        """The section."""


_INSTEAD_WITH_ENDPOINT = {"base_model": "keep one of the two", "price": "set endpoint.price"}


class _HasGeneration(Protocol):
    @property
    def generation(self) -> Generation: ...


_ALTERNATIVES = (
    (("num_epochs",), ("max_steps",)),
    (("warmup_ratio",), ("warmup_steps",)),
    (("val_set_size",), ("val_datasets",)),
    (("lora_target_modules",), ("lora_target_linear",)),
)

_OF_EVALUATION: Sequence[_Rule[HasEvaluation]] = (
    (
        "evaluation.tokenizer",
        "evaluation",
        lambda r: r.evaluation.tokenizer != "rouge" and not any(map(_may_be_rouge, r.evaluation.metrics)),
        "without ROUGE among evaluation.metrics; add rouge1, or remove the key",
    ),
)
_OF_SAMPLING: Sequence[_Rule[_HasGeneration]] = tuple(
    (
        f"generation.{key}",
        "generation",
        lambda r: not r.generation.do_sample,
        "without `do_sample: true`; set it, or remove the key",
    )
    for key in ("temperature", "top_p")
)
_OF_LOCAL: Sequence[_Rule[LocalRecipe]] = (
    *_OF_EVALUATION,
    *_OF_SAMPLING,
    (
        "generation.length_penalty",
        "generation",
        lambda r: r.generation.num_beams == 1,
        "with one beam; set num_beams above 1, or remove the key",
    ),
    (
        "generation.batch_size",
        "generation",
        lambda r: r.generation.engine == "vllm",
        "with `engine: vllm`, which schedules prompts itself; remove it",
    ),
    (
        "num_machines",
        "launcher",
        lambda r: r.launcher == "slurm",
        "with `launcher: slurm`; set slurm.nodes, and remove the key",
    ),
    (
        "slurm.gpu_type",
        "slurm",
        lambda r: not (r.slurm and r.slurm.gpus_per_node),
        "without gpus_per_node; set it, or remove the key",
    ),
    *(
        (key, "chat_template", lambda r: r.chat_template == "none", "with `chat_template: none`; remove one of the two")
        for key in ("system_prompt", "chat_template_kwargs")
    ),
    ("slurm", "launcher", lambda r: r.launcher != "slurm", "without `launcher: slurm`; set it, or remove the section"),
)
_OF_EXEMPLARS: Sequence[_Rule[PromptRecipe | EndpointRecipe]] = (
    (
        "datasets",
        "shots",
        lambda r: r.shots == 0,
        "with `shots: 0`; set shots, or remove the key",
    ),
    ("exemplars", "shots", lambda r: r.shots == 0, "with `shots: 0`; set shots, or remove the key"),
    (
        "exemplars.ids",
        "exemplars",
        lambda r: r.exemplars.choose != "ids",
        "without `choose: ids`; set it, or remove ids",
    ),
)
_OF_ENDPOINTS: Sequence[_Rule[EndpointRecipe]] = (
    *_OF_EVALUATION,
    *_OF_SAMPLING,
    *_OF_EXEMPLARS,
    *(
        (f"generation.{key}", "endpoint", lambda _: True, "with an endpoint, whose server generates; remove it")
        for key in ("engine", "num_beams", "length_penalty", "no_repeat_ngram_size", "batch_size")
    ),
)
_OF_PROMPTS: Sequence[_Rule[PromptRecipe]] = (*_OF_LOCAL, *_OF_EXEMPLARS)
_OF_TRAINING: Sequence[_Rule[TrainRecipe]] = (
    *_OF_LOCAL,
    *(
        (key, "adapter", unread, f"without `adapter: {name}`; add the adapter or remove the key")
        for name, key, unread in keys_of_adapters()
    ),
    (
        "lora_target_linear",
        "lora_target_modules",
        lambda r: r.lora_target_linear is not None and r.lora_target_modules is not None,
        "with lora_target_modules, which names the layers; keep one of the two",
    ),
    (
        "num_epochs",
        "max_steps",
        lambda r: r.max_steps is not None,
        "with max_steps, which takes precedence; keep one of the two",
    ),
    (
        "warmup_ratio",
        "warmup_steps",
        lambda r: r.warmup_steps > 0 and r.warmup_ratio > 0,
        "with warmup_steps, which takes precedence; keep one of the two",
    ),
    *(
        (
            key,
            "lr_scheduler",
            lambda r: r.lr_scheduler == "constant",
            "with `lr_scheduler: constant`; use constant_with_warmup",
        )
        for key in ("warmup_ratio", "warmup_steps")
    ),
    *(
        (key, other, lambda r: r.val_set_size > 0 and r.val_datasets is not None, f"with {other}; keep one of the two")
        for key, other in (("val_set_size", "val_datasets"), ("val_datasets", "val_set_size"))
    ),
    *(
        (key, "val_set_size", lambda r: not r.validates, "without validation data; set val_set_size or val_datasets")
        for key in ("early_stopping_patience", "eval_steps")
    ),
    *(
        (key, "wandb_project", lambda r: r.wandb_project is None, "without wandb_project; set it, or remove the key")
        for key in ("wandb_entity", "wandb_name", "wandb_mode")
    ),
    (
        "mlflow_experiment_name",
        "mlflow_tracking_uri",
        lambda r: r.mlflow_tracking_uri is None,
        "without mlflow_tracking_uri; set it, or remove the key",
    ),
)


# key of a data set, the type of data set that reads it, why others do not and what to do
_OF_SOURCES = (
    *(
        (key, "columns", "with `type: messages`; name the column with messages_field")
        for key in ("dialogue_field", "summary_field")
    ),
    ("messages_field", "messages", "without `type: messages`; set it, or remove the key"),
)


class NoEffect(NamedTuple):
    """Why a key would be ignored.

    Args:
        why: ends a sentence that begins with the key.
        decisive: the key, or the section, that it depends on.
    """

    why: str
    decisive: KeyPath


class Ineffective(NamedTuple):
    """A key that would be ignored; ``decisive`` is the key, or the section, that it depends on."""

    path: KeyPath
    message: str
    decisive: KeyPath


def are_alternatives(one: KeyPath, other: KeyPath) -> bool:
    """Return whether two keys set the same thing in two ways, so that a recipe may only have one of them."""
    return (one, other) in _ALTERNATIVES or (other, one) in _ALTERNATIVES


def no_effect(path: KeyPath, recipe: Recipe, wrong: Collection[str] = ()) -> NoEffect | None:
    """Return why the key at ``path`` would be ignored by ``recipe``, or None when it is read.

    If the key that it depends on is among the ``wrong`` ones, the effect is unknown and the result is None.
    """
    forms = FORMS_OF[str(path[0])]
    if form_of_recipe(recipe) not in forms:
        if isinstance(recipe, EndpointRecipe) and "prompt" in forms:
            advice = _INSTEAD_WITH_ENDPOINT.get(str(path[0]), "remove it")
            return NoEffect(f"has no effect with an endpoint; {advice}", ("endpoint",))
        kinds = list(dict.fromkeys(KIND_OF[form] for form in forms))
        readers = " and ".join(f"`kind: {kind}`" for kind in kinds)
        verb = "reads" if len(kinds) == 1 else "read"
        why = f"has no effect in `kind: {recipe.kind}` (only {readers} {verb} it); remove it"
        return NoEffect(why, ("kind",))
    match recipe:
        case PromptRecipe():
            return _first(_OF_PROMPTS, recipe, path, wrong)
        case EndpointRecipe():
            return _first(_OF_ENDPOINTS, recipe, path, wrong)
        case TrainRecipe():
            return _first(_OF_TRAINING, recipe, path, wrong)
        case CompareRecipe():
            return None
    assert_never(recipe)


def _first(rules: Sequence[_Rule[_R]], recipe: _R, path: KeyPath, wrong: Collection[str]) -> NoEffect | None:
    dotted = ".".join(str(part) for part in path)
    for key, decided_by, ignored, why in rules:
        unknown = any(name == decided_by or are_alternatives((name,), (decided_by,)) for name in wrong)
        if dotted == key and not unknown and ignored(recipe):
            return NoEffect(f"has no effect {why}", (decided_by,))
    return None


def ineffective(given: Mapping[str, Any], recipe: Recipe, wrong: Collection[str] = ()) -> Iterator[Ineffective]:
    """Yield each key that would be ignored; see `rule_problems`."""
    for key, value in given.items():
        yield from _ignored((key,), value, recipe, wrong)
    if isinstance(recipe, CompareRecipe):
        if "recipes" not in wrong:
            yield from _unread_columns(recipe)
        return
    for key, sources in data_keys(recipe):
        for index, source in enumerate(sources):
            if key not in wrong:
                for name, why, decisive in _unread_keys(given, key, index, source):
                    yield Ineffective((key, index, name), f"{name} has no effect {why}", (key, index, decisive))
    if "evaluation" not in wrong:
        yield from _unread_metric_arguments(recipe.evaluation)


def _unread_columns(recipe: CompareRecipe) -> Iterator[Ineffective]:
    """Yield each key that names a column of outputs in plain text, which has none."""
    for index, entry in enumerate(recipe.recipes):
        if isinstance(entry, ComparedPredictions) and not is_table(entry.predictions):
            for key in COLUMN_KEYS:
                if getattr(entry, key) is not None:
                    message = f"{key} has no effect on plain text (got {entry.predictions}); remove it"
                    yield Ineffective(("recipes", index, key), message, ("recipes", index, "predictions"))


def _unread_keys(
    given: Mapping[str, Any], key: str, index: int, source: DatasetSource
) -> Iterator[tuple[str, str, str]]:
    """Yield each key of a data set that would be ignored, why, and the key of the data set that it depends on."""
    if source.path.startswith("builtin/"):
        if source.on_empty == "skip":
            yield "on_empty", f"for {source.path}, which has no empty rows; remove it", "path"
        if source.type == "messages":
            yield "type", f"for {source.path}, which has columns; remove it", "path"
    written = given[key][index] if key in given else {}
    for name, reader, why in _OF_SOURCES:
        if source.type != reader and name in written:
            yield name, why, "type"


def unread_evaluation(given: Mapping[str, Any], holder: HasEvaluation) -> Iterator[Ineffective]:
    """Yield each key of an evaluation section by itself that would be ignored.

    Args:
        given: the section as written.
        holder: of its values, defaults filled in.
    """
    for key in given:
        reason = _first(_OF_EVALUATION, holder, ("evaluation", key), ())
        if reason is not None:
            yield Ineffective(("evaluation", key), f"{key} {reason.why}", reason.decisive)
    yield from _unread_metric_arguments(holder.evaluation)


def _ignored(path: KeyPath, value: object, recipe: Recipe, wrong: Collection[str]) -> Iterator[Ineffective]:
    reason = no_effect(path, recipe, wrong)
    if reason is not None and value is not None:
        yield Ineffective(path, f"{path[-1]} {reason.why}", reason.decisive)
    elif isinstance(value, Mapping) and path[0] in SECTIONS:
        for key, inner in value.items():
            yield from _ignored((*path, key), inner, recipe, wrong)


def _unread_metric_arguments(settings: EvaluationSettings) -> Iterator[Ineffective]:
    names = [metric_name(name) for name in settings.metrics if not _may_be_rouge(name)]
    for name in settings.metric_arguments:
        if name not in names:
            known = hint_or_list(name, names) if names else "; it lists only ROUGE, which takes no arguments"
            message = f"metric_arguments for a metric that evaluation.metrics does not list (got {name!r}){known}"
            yield Ineffective(("evaluation", "metric_arguments", name), message, ("evaluation", "metrics"))


def _may_be_rouge(name: str) -> bool:
    """Return whether a metric is ROUGE rather than one of the evaluate library; a folder may have any name."""
    return name.startswith("rouge") and "/" not in name
