"""Checks a recipe with all that it names: its paths, this machine, and the recipes that it compares."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from typing_extensions import assert_never

from summtune.base.errors import InputError, Problem, RecipeError
from summtune.base.files import is_file
from summtune.base.places import is_local, model_folder
from summtune.deepspeed.configs import parse_ds_config
from summtune.deepspeed.rules import contradictions, wrong_with_config
from summtune.deepspeed.zero_memory import offloads
from summtune.machine.adapter_targets import wrong_targets
from summtune.machine.compiling import missing_for_compiling
from summtune.machine.model_limits import facts_of, misfits
from summtune.prompts.templates import check_template
from summtune.recipe.document import Document
from summtune.recipe.keys import CompareRecipe, PromptRecipe, RunRecipe, TrainRecipe
from summtune.recipe.loading import LoadedRecipe, Overrides, load_document, load_recipe
from summtune.recipe.paths import recipe_path, resolve_paths
from summtune.recipe.rules import Finding, system_name
from summtune.recipe.sections import ComparedRecipe
from summtune.recipe.yaml_reader import read_yaml_file


@dataclass(frozen=True)
class CheckedRun:
    """A prompt or train recipe in which nothing is wrong.

    Args:
        loaded: the file, for the positions of its keys.
        recipe: the values, paths resolved.
        deepspeed: the content of the DeepSpeed config that it names; None without one.
    """

    loaded: LoadedRecipe
    recipe: RunRecipe
    deepspeed: dict[str, Any] | None = None


@dataclass(frozen=True)
class CheckedComparison:
    """A comparison in which nothing is wrong, nor in what it compares.

    Args:
        loaded: the file, for the positions of its keys.
        recipe: the values, paths resolved.
        parts: the name of each system, and its recipe with the overrides applied.
    """

    loaded: LoadedRecipe
    recipe: CompareRecipe
    parts: tuple[tuple[str, CheckedRun], ...]


Checked: TypeAlias = CheckedRun | CheckedComparison


def check(path: Path, sets: Sequence[str] = (), document: Document | None = None) -> Checked:
    """Return a recipe in which nothing is wrong; its file is read once, and so is each that it compares.

    Args:
        path: the file.
        sets: ``--set`` assignments.
        document: what the file would hold, where there is none.

    Raises:
        InputError, RecipeError: it cannot be read, or holds problems: all of them.
    """
    loaded = load_document(document or read_yaml_file(path), path, sets)
    match loaded.recipe:
        case CompareRecipe():
            return _check_comparison(loaded, loaded.recipe)
        case PromptRecipe() | TrainRecipe():
            return _check_run(loaded, loaded.recipe)
    assert_never(loaded.recipe)


def _check_run(loaded: LoadedRecipe, recipe: RunRecipe) -> CheckedRun:
    recipe, problems = resolve_paths(recipe, loaded)
    found: list[Finding] = list(_problems(recipe))
    config = None
    if isinstance(recipe, TrainRecipe):
        config, wrong = _ds_config(recipe)
        found += [*_problems_of_training(recipe), *wrong]
    problems += [loaded.document.problem(path, message) for path, message in found]
    if problems:
        raise RecipeError(sorted(problems, key=lambda problem: (problem.line == 0, problem.line, problem.column)))
    return CheckedRun(loaded, recipe, config)


def _check_comparison(loaded: LoadedRecipe, recipe: CompareRecipe) -> CheckedComparison:
    recipe, problems = resolve_paths(recipe, loaded)
    if problems:
        raise RecipeError(problems)
    parts: list[tuple[str, CheckedRun]] = []
    for index, entry in enumerate(recipe.recipes):
        try:
            parts.append((system_name(entry), _part(loaded, recipe, entry)))
        except RecipeError as error:
            problems += error.problems
        except InputError as error:
            problems.append(loaded.document.problem(("recipes", index), str(error)))
    if not problems:  # what is read cannot be told of recipes that cannot be
        problems += _unread_overrides(loaded, recipe, [part for _, part in parts])
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return CheckedComparison(loaded, recipe, tuple(parts))


def _part(comparison: LoadedRecipe, recipe: CompareRecipe, entry: str | ComparedRecipe) -> CheckedRun:
    """Return one of the recipes that are compared, with the overrides of the comparison applied."""
    folder = comparison.path.parent
    path = recipe_path(entry.recipe if isinstance(entry, ComparedRecipe) else entry, folder)
    assert path is not None, "resolve_paths found it"
    own = entry.overrides if isinstance(entry, ComparedRecipe) else {}
    loaded = load_recipe(path, (), Overrides(own, recipe.overrides, folder))
    if isinstance(loaded.recipe, CompareRecipe):
        raise InputError(
            f"a comparison compares prompt and train recipes (got {path.name}, which is a comparison); list its "
            "recipes here"
        )
    return _check_run(loaded, loaded.recipe)


def _problems(recipe: RunRecipe) -> Iterator[Finding]:
    """Yield what can only be told of a prompt or train recipe with a look at this machine and its files."""
    try:
        check_template(recipe.prompt_template)
    except InputError as error:
        yield ("prompt_template",), str(error)
    folder = model_folder(recipe.base_model)
    if folder is not None:
        for key, message in misfits(facts_of(folder), recipe):
            yield tuple(key.split(".")), message


def _problems_of_training(recipe: TrainRecipe) -> Iterator[Finding]:
    yield from ((("lora_target_modules",), text) for text in _wrong_targets(recipe))
    trackers = (
        ("wandb_project", recipe.wandb_project, "wandb"),
        ("use_tensorboard", recipe.use_tensorboard, "tensorboard"),
        ("mlflow_tracking_uri", recipe.mlflow_tracking_uri, "mlflow"),
    )
    for key, value, package in trackers:
        if value and importlib.util.find_spec(package) is None:
            yield (key,), f"{key} needs {package}, which is not installed; pip install {package}"


def _ds_config(recipe: TrainRecipe) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the DeepSpeed config that a training names, and what is wrong with it or with this machine for it."""
    if recipe.deepspeed is None or not is_local(recipe.deepspeed) or not is_file(Path(recipe.deepspeed)):
        return None, []  # resolve_paths reports a path that does not exist
    found: list[Finding] = []
    config = None
    try:
        config = parse_ds_config(Path(recipe.deepspeed))
        found += [(("deepspeed",), text) for text in _problems_of_ds_config(recipe, config, Path(recipe.deepspeed))]
    except InputError as error:
        found.append((("deepspeed",), str(error)))
    if importlib.util.find_spec("deepspeed") is None:
        found.append((("deepspeed",), "deepspeed is not installed on this machine; pip install deepspeed"))
    return config, found


def _wrong_targets(recipe: TrainRecipe) -> Iterator[str]:
    """Yield what is wrong with the layers that shall get an adapter, as far as the model's files are here."""
    if recipe.adapter is None:
        return
    folder = model_folder(recipe.base_model)
    if folder is not None and not folder.is_dir():  # which is a problem of base_model
        return
    yield from wrong_targets(recipe.lora_target_modules, recipe.base_model, folder)


def _problems_of_ds_config(recipe: TrainRecipe, config: dict[str, Any], path: Path) -> Iterator[str]:
    yield from wrong_with_config(config, path)
    yield from contradictions(config, recipe, path)
    yield from _not_compiled(recipe, config)


def _not_compiled(recipe: TrainRecipe, config: dict[str, Any]) -> Iterator[str]:
    """Yield what this machine lacks for DeepSpeed's CPU optimizer; of the nodes of a cluster it cannot be told here."""
    if recipe.launcher == "local" and offloads(config.get("zero_optimization", {}), "offload_optimizer"):
        missing = missing_for_compiling()
        if missing:
            yield (
                "CPU offload compiles DeepSpeed's Adam when it is first used, and this machine cannot (got "
                f"{recipe.deepspeed}, without {', '.join(missing)}); install that, or use a config without offload"
            )


def _unread_overrides(loaded: LoadedRecipe, recipe: CompareRecipe, parts: Sequence[CheckedRun]) -> Iterator[Problem]:
    """Yield the overrides of a comparison that none of its recipes reads."""
    for key in recipe.overrides:
        top = key.split(".", 1)[0]
        if not any(path and path[0] == top for part in parts for path in part.loaded.document.overridden):
            yield loaded.document.problem(
                ("overrides", key), f"override {key} is read by none of the recipes; remove it"
            )
