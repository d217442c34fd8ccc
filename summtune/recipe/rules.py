"""Rules across keys: which need others, and which contradict each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Any, TypeAlias

from typing_extensions import assert_never

from summtune.base.hints import hint_or_list
from summtune.recipe.adapters import quantization_of, takes_weights_of_the_base
from summtune.recipe.document import KeyPath
from summtune.recipe.endpoint_rules import check_endpoint
from summtune.recipe.ineffective import HasEvaluation, ineffective, unread_evaluation
from summtune.recipe.keys import CompareRecipe, EndpointRecipe, LocalRecipe, PromptRecipe, Recipe, TrainRecipe
from summtune.recipe.launching_rules import check_launching
from summtune.recipe.sections import ComparedEntry, ComparedPredictions, DatasetSource, EvaluationSettings
from summtune.recipe.vllm_rules import check_vllm

KeyProblem: TypeAlias = tuple[KeyPath, str]
"""The key of a recipe, and what is wrong with it."""


def rule_problems(given: Mapping[str, Any], recipe: Recipe, wrong: Collection[str] = ()) -> Iterator[KeyProblem]:
    """Yield where the keys of a recipe contradict each other, need others, or would be ignored.

    Args:
        given: the mapping as written, without the keys in ``wrong``.
        recipe: the values, defaults filled in.
        wrong: keys that have an invalid value or are missing; no rule that reads them applies.
    """
    for each in ineffective(given, recipe, wrong):
        yield each.path, each.message
    match recipe:
        case CompareRecipe():
            if "recipes" not in wrong:
                yield from _comparison(recipe)
        case PromptRecipe():
            yield from _local(recipe, wrong)
            yield from _exemplars(recipe, wrong)
            yield from _every_dialogue(recipe)
        case EndpointRecipe():
            yield from _evaluation(recipe, wrong)
            yield from _exemplars(recipe, wrong)
            yield from check_endpoint(recipe, wrong)
        case TrainRecipe():
            yield from _local(recipe, wrong)
            yield from _training(recipe)
            yield from _four_bits(recipe, wrong)
            yield from _selection(recipe, wrong)
        case _:
            assert_never(recipe)


def evaluation_problems(given: Mapping[str, Any], holder: HasEvaluation) -> Iterator[KeyProblem]:
    """Yield the problems of an evaluation section by itself; see `unread_evaluation`."""
    for each in unread_evaluation(given, holder):
        yield each.path, each.message
    yield from _metric_arguments(holder.evaluation)


def _local(recipe: LocalRecipe, wrong: Collection[str]) -> Iterator[KeyProblem]:
    if recipe.launcher == "slurm" and recipe.slurm is None and "slurm" not in wrong:
        yield ("launcher",), "`launcher: slurm` needs a slurm section; give at least its time and gpus_per_node"
    yield from check_launching(recipe, wrong)
    yield from check_vllm(recipe, wrong)
    yield from _evaluation(recipe, wrong)


def _evaluation(recipe: HasEvaluation, wrong: Collection[str]) -> Iterator[KeyProblem]:
    if "evaluation" not in wrong:
        yield from _metric_arguments(recipe.evaluation)


def _metric_arguments(settings: EvaluationSettings) -> Iterator[KeyProblem]:
    for name, arguments in settings.metric_arguments.items():
        for key in {"predictions", "references"} & arguments.keys():
            path: KeyPath = ("evaluation", "metric_arguments", name, key)
            yield path, f"{key} are passed by summtune (got them in metric_arguments.{name}); remove the key"


def _every_dialogue(recipe: PromptRecipe) -> Iterator[KeyProblem]:
    if recipe.long_dialogues == "drop":
        yield (
            ("long_dialogues",),
            "`drop` would leave dialogues without a summary, and every dialogue is scored; "
            "use truncate_end or truncate_start",
        )


def _exemplars(recipe: PromptRecipe | EndpointRecipe, wrong: Collection[str]) -> Iterator[KeyProblem]:
    chosen = recipe.exemplars
    if recipe.shots > 0 and recipe.datasets is None and "datasets" not in wrong:
        yield ("shots",), f"shots needs exemplars (got shots: {recipe.shots}); list where they come from in datasets"
    if chosen.choose == "ids" and chosen.ids is None:
        yield ("exemplars",), "`choose: ids` needs ids; list the ids of the exemplars"
    if chosen.choose == "ids" and chosen.ids is not None and len(chosen.ids) != recipe.shots:
        yield ("exemplars", "ids"), f"give exactly `shots` ids (got {len(chosen.ids)} ids, shots: {recipe.shots})"
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


def _training(recipe: TrainRecipe) -> Iterator[KeyProblem]:
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
    if recipe.validates and recipe.save_steps and not recipe.eval_steps:
        yield (
            ("save_steps",),
            "save_steps with validation data needs eval_steps: the best checkpoint is one of those evaluated",
        )
    if recipe.mlflow_tracking_uri and "@" in recipe.mlflow_tracking_uri:
        yield (
            ("mlflow_tracking_uri",),
            "mlflow_tracking_uri must not contain a user or password (it is written to files); "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment",
        )


def _four_bits(recipe: TrainRecipe, wrong: Collection[str]) -> Iterator[KeyProblem]:
    if "adapter" in wrong:
        return
    if recipe.adapter is None and recipe.load_in_4bit:
        yield (
            ("load_in_4bit",),
            "weights of four bits cannot be trained (got load_in_4bit: true without an adapter); add `adapter: lora`, "
            "or remove the key",
        )
    if recipe.adapter == "qlora" and recipe.load_in_4bit is False:
        yield (
            ("load_in_4bit",),
            "`adapter: qlora` is LoRA on weights of four bits (got load_in_4bit: false); set `adapter: lora`, or "
            "remove load_in_4bit",
        )
    init = recipe.peft_init_lora_weights
    if quantization_of(recipe) is not None and takes_weights_of_the_base(init):
        yield (
            ("peft_init_lora_weights",),
            f"{init} takes a part of the base's weights out of them, and weights of four bits would lose the rest "
            "(got both); use gaussian or remove the key, or train without load_in_4bit and qlora",
        )


def _selection(recipe: TrainRecipe, wrong: Collection[str]) -> Iterator[KeyProblem]:
    if "test_datasets" in wrong:
        return
    tested = {_part_of(source, "test") for source in recipe.test_datasets}
    for index, source in enumerate(recipe.val_datasets or ()):
        path, split = part = _part_of(source, "validation")
        if part in tested:
            where = path if split is None else f"{path}, split {split}"
            yield (
                ("val_datasets", index),
                f"validation data must not come from the test data, because it selects the checkpoint (got {where}, in "
                "both); use other data",
            )


def _part_of(source: DatasetSource, default_split: str) -> tuple[str, str | None]:
    """Return the path and the split that a data set is read from; a file has no split."""
    return source.path, None if _is_file(source.path) else source.split or default_split


def _comparison(recipe: CompareRecipe) -> Iterator[KeyProblem]:
    if all(isinstance(entry, ComparedPredictions) for entry in recipe.recipes):
        yield (
            ("recipes",),
            "a comparison scores outputs on the test data of its recipes (got only predictions); add a recipe, or "
            "score each file with `summtune evaluate --output-dir` and compare them with `summtune compare`",
        )
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


def system_name(entry: ComparedEntry) -> str:
    """Return the name of an entry of ``recipes`` in tables: its own, else its file's name without the ending."""
    if isinstance(entry, ComparedPredictions):
        return entry.name or PurePath(entry.predictions).stem
    path = entry if isinstance(entry, str) else entry.recipe
    name = None if isinstance(entry, str) else entry.name
    return name or path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
