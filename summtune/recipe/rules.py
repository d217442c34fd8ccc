"""Rules across keys: which need others, which contradict each other, which have no effect.

A key that is set and then ignored is the most expensive mistake of an experiment, because nothing shows it.
Each such rule is one line of a table: the key, when it has no effect, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from typing_extensions import assert_never

from summtune.base.hints import hint_or_list
from summtune.recipe.document import KeyPath
from summtune.recipe.keys import KINDS_OF, CompareRecipe, PromptRecipe, Recipe, RunRecipe, TrainRecipe
from summtune.recipe.launching_rules import check_launching
from summtune.recipe.sections import ComparedRecipe, EvaluationSettings, metric_name

Finding: TypeAlias = tuple[KeyPath, str]
_R = TypeVar("_R")
# key path, the key that it depends on, whether it has no effect in this recipe, why and what to do
_NoEffect: TypeAlias = tuple[str, str, Callable[[_R], bool], str]


class HasEvaluation(Protocol):
    """What has an evaluation section."""

    @property
    def evaluation(self) -> EvaluationSettings:
        """The section."""


SECTIONS = ("generation", "evaluation", "exemplars", "slurm")
"""Keys that hold keys."""

_LORA_KEYS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "peft_use_dora", "peft_use_rslora")

_OF_EVALUATION: Sequence[_NoEffect[HasEvaluation]] = (
    (
        "evaluation.tokenizer",
        "evaluation",
        lambda r: r.evaluation.tokenizer != "rouge" and not any(map(_may_be_rouge, r.evaluation.metrics)),
        "without ROUGE among evaluation.metrics; add rouge1, or remove the key",
    ),
)
_OF_RUNS: Sequence[_NoEffect[RunRecipe]] = (
    *_OF_EVALUATION,
    *(
        (
            f"generation.{key}",
            "generation",
            lambda r: not r.generation.do_sample,
            "without `do_sample: true`; set it, or remove the key",
        )
        for key in ("temperature", "top_p")
    ),
    (
        "generation.length_penalty",
        "generation",
        lambda r: r.generation.num_beams == 1,
        "with one beam; set num_beams above 1, or remove the key",
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
    ("slurm", "launcher", lambda r: r.launcher != "slurm", "without `launcher: slurm`; set it, or remove the section"),
)
_OF_PROMPTS: Sequence[_NoEffect[PromptRecipe]] = (
    *_OF_RUNS,
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
_OF_TRAINING: Sequence[_NoEffect[TrainRecipe]] = (
    *_OF_RUNS,
    *(
        (key, "adapter", lambda r: r.adapter is None, "without `adapter: lora`; add the adapter or remove the key")
        for key in _LORA_KEYS
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
        (key, "val_set_size", lambda r: r.val_set_size == 0, "without evaluation data; set val_set_size")
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


def no_effect(path: KeyPath, recipe: Recipe, wrong: Collection[str] = ()) -> str | None:
    """Return why the key at ``path`` would be ignored by ``recipe``, or None when it is read.

    If the key that it depends on is among the ``wrong`` ones, the effect is unknown and the result is None.
    """
    kinds = KINDS_OF[str(path[0])]
    if recipe.kind not in kinds:
        readers = " and ".join(f"`kind: {kind}`" for kind in kinds)
        return f"has no effect in `kind: {recipe.kind}` (only {readers} reads it); remove it"
    match recipe:
        case PromptRecipe():
            return _first(_OF_PROMPTS, recipe, path, wrong)
        case TrainRecipe():
            return _first(_OF_TRAINING, recipe, path, wrong)
        case CompareRecipe():
            return None
    assert_never(recipe)


def _first(rules: Sequence[_NoEffect[_R]], recipe: _R, path: KeyPath, wrong: Collection[str]) -> str | None:
    dotted = ".".join(str(part) for part in path)
    for key, decided_by, ignored, why in rules:
        if dotted == key and decided_by not in wrong and ignored(recipe):
            return f"has no effect {why}"
    return None


def rule_problems(given: Mapping[str, Any], recipe: Recipe, wrong: Collection[str] = ()) -> Iterator[Finding]:
    """Yield where the keys of a recipe contradict each other, need others, or would be ignored.

    Args:
        given: the mapping as written, without the keys in ``wrong``.
        recipe: the values, defaults filled in.
        wrong: keys that have an invalid value or are missing; no rule that reads them applies.
    """
    for key, value in given.items():
        yield from _ignored((key,), value, recipe, wrong)
    match recipe:
        case CompareRecipe():
            if "recipes" not in wrong:
                yield from _comparison(recipe)
        case PromptRecipe():
            yield from _run(recipe, wrong)
            yield from _prompt(recipe, wrong)
        case TrainRecipe():
            yield from _run(recipe, wrong)
            yield from _training(recipe)
        case _:
            assert_never(recipe)


def evaluation_problems(given: Mapping[str, Any], holder: HasEvaluation) -> Iterator[Finding]:
    """Yield the problems of an evaluation section by itself.

    Args:
        given: the section as written.
        holder: of its values, defaults filled in.
    """
    for key in given:
        reason = _first(_OF_EVALUATION, holder, ("evaluation", key), ())
        if reason is not None:
            yield ("evaluation", key), f"{key} {reason}"
    yield from _metric_arguments(holder.evaluation)


def _ignored(path: KeyPath, value: object, recipe: Recipe, wrong: Collection[str]) -> Iterator[Finding]:
    reason = no_effect(path, recipe, wrong)
    if reason is not None and value is not None:
        yield path, f"{path[-1]} {reason}"
    elif isinstance(value, Mapping) and path[0] in SECTIONS:
        for key, inner in value.items():
            yield from _ignored((*path, key), inner, recipe, wrong)


def _run(recipe: RunRecipe, wrong: Collection[str]) -> Iterator[Finding]:
    if recipe.launcher == "slurm" and recipe.slurm is None and "slurm" not in wrong:
        yield ("launcher",), "`launcher: slurm` needs a slurm section; give at least its time and gpus_per_node"
    yield from check_launching(recipe, wrong)
    for key, sources in (("datasets", recipe.datasets), ("test_datasets", recipe.test_datasets)):
        for index, source in enumerate(sources or ()):
            if key not in wrong and source.on_empty == "skip" and source.path.startswith("builtin/"):
                yield (
                    (key, index, "on_empty"),
                    f"on_empty has no effect for {source.path}, which has no empty rows; remove it",
                )
    if "evaluation" not in wrong:
        yield from _metric_arguments(recipe.evaluation)


def _metric_arguments(settings: EvaluationSettings) -> Iterator[Finding]:
    names = [metric_name(name) for name in settings.metrics if not _may_be_rouge(name)]
    for name, arguments in settings.metric_arguments.items():
        path: KeyPath = ("evaluation", "metric_arguments", name)
        if name not in names:
            known = hint_or_list(name, names) if names else "; it lists only ROUGE, which takes no arguments"
            yield path, f"metric_arguments for a metric that evaluation.metrics does not list (got {name!r}){known}"
        for key in {"predictions", "references"} & arguments.keys():
            yield (*path, key), f"{key} are passed by summtune (got them in metric_arguments.{name}); remove the key"


def _may_be_rouge(name: str) -> bool:
    """Return whether a metric is ROUGE rather than one of the evaluate library; a folder may have any name."""
    return name.startswith("rouge") and "/" not in name


def _prompt(recipe: PromptRecipe, wrong: Collection[str]) -> Iterator[Finding]:
    chosen = recipe.exemplars
    if recipe.shots > 0 and recipe.datasets is None and "datasets" not in wrong:
        yield ("shots",), f"shots needs exemplars (got shots: {recipe.shots}); list where they come from in datasets"
    if chosen.choose == "ids" and chosen.ids is None:
        yield ("exemplars",), "`choose: ids` needs ids; list the ids of the exemplars"
    if chosen.choose == "ids" and chosen.ids is not None and len(chosen.ids) != recipe.shots:
        yield ("exemplars", "ids"), f"give exactly `shots` ids (got {len(chosen.ids)} ids, shots: {recipe.shots})"
    if recipe.long_dialogues == "drop":
        yield (
            ("long_dialogues",),
            "`drop` would leave dialogues without a summary, and every dialogue is scored; "
            "use truncate_end or truncate_start",
        )
    if "test_datasets" in wrong:
        return
    tested = {(source.path, source.split or "test") for source in recipe.test_datasets}
    for index, source in enumerate(recipe.datasets or ()):
        split = chosen.split or source.split or "train"
        if (source.path, split) in tested and not _is_file(source.path):
            yield (
                ("datasets", index),
                f"exemplars must not come from the test data (got {source.path}, split {split}, in both); "
                "use another split",
            )


def _is_file(path: str) -> bool:
    return path.lower().endswith((".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow"))


def _training(recipe: TrainRecipe) -> Iterator[Finding]:
    size = recipe.val_set_size
    if size >= 1 and size != int(size):
        yield ("val_set_size",), f"val_set_size is a count or a fraction below 1 (got {size}); write a whole number"
    limits = [source.limit for source in recipe.datasets]
    most = sum(limit for limit in limits if limit is not None)
    if None not in limits and size >= most:
        yield (
            ("val_set_size",),
            f"val_set_size leaves no training data (got {size}, and the limits of datasets leave {most} dialogues); "
            "lower it, or raise the limits",
        )
    if recipe.eval_steps and recipe.save_steps and recipe.save_steps % recipe.eval_steps:
        yield (
            ("save_steps",),
            f"save_steps must be a multiple of eval_steps (got {recipe.save_steps} and {recipe.eval_steps}): the best "
            "checkpoint is one of those evaluated",
        )
    if size and recipe.save_steps and not recipe.eval_steps:
        yield (
            ("save_steps",),
            "save_steps with val_set_size needs eval_steps: the best checkpoint is one of those evaluated",
        )
    if recipe.mlflow_tracking_uri and "@" in recipe.mlflow_tracking_uri:
        yield (
            ("mlflow_tracking_uri",),
            "mlflow_tracking_uri must not contain a user or password (it is written to files); "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment",
        )


def _comparison(recipe: CompareRecipe) -> Iterator[Finding]:
    names: dict[str, int] = {}
    for index, entry in enumerate(recipe.recipes):
        name = system_name(entry)
        if name in names:
            yield ("recipes", index), f"two systems have the same name (got {name!r}); give one of them another `name`"
        names[name] = index
    if recipe.baseline is not None and recipe.baseline not in names:
        yield (
            ("baseline",),
            f"baseline is not one of the systems (got {recipe.baseline!r}){hint_or_list(recipe.baseline, names)}",
        )


def system_name(entry: str | ComparedRecipe) -> str:
    """Return the name of an entry of ``recipes`` in tables: its own, else its file's name without the ending."""
    path = entry if isinstance(entry, str) else entry.recipe
    name = None if isinstance(entry, str) else entry.name
    return name or path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
