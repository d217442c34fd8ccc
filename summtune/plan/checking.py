"""Checks a recipe with all that it names: its paths, this machine, and the recipes that it compares."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError, Problem, RecipeError
from summtune.base.files import is_file
from summtune.base.places import is_local, model_folder
from summtune.deepspeed.configs import parse_ds_config
from summtune.deepspeed.rules import contradictions, wrong_with_config
from summtune.deepspeed.zero_memory import offloads
from summtune.machine.compiling import missing_for_compiling
from summtune.plan.models import problems_of_model
from summtune.prompts.templates import check_template
from summtune.recipe.document import Document
from summtune.recipe.keys import ComparedRecipe, Recipe
from summtune.recipe.loading import LoadedRecipe, load_document, load_recipe
from summtune.recipe.overriding import NO_OVERRIDES, Overrides, Setting
from summtune.recipe.paths import recipe_path, resolve_paths
from summtune.recipe.rules import system_name
from summtune.recipe.yaml_reader import read_yaml_file


@dataclass(frozen=True)
class System:
    """One system of a comparison: its name, its recipe, and what is laid over that."""

    name: str
    path: Path
    overrides: Overrides


def check(
    path: Path,
    sets: Sequence[str | Setting] = (),
    overrides: Overrides = NO_OVERRIDES,
    document: Document | None = None,
) -> tuple[LoadedRecipe, Recipe]:
    """Return a recipe and its values with paths resolved, having found nothing wrong with it or what it compares.

    Args:
        path: the file.
        sets: ``--set`` assignments.
        overrides: of the comparison that it is part of.
        document: what the file would hold, where there is none.

    Raises:
        InputError, RecipeError: it cannot be read, or holds problems: all of them.
    """
    loaded = load_document(document or read_yaml_file(path), path, sets, overrides)
    recipe, problems = resolve_paths(loaded)
    problems += _problems(loaded, recipe)
    if problems:
        raise RecipeError(sorted(problems, key=lambda problem: (problem.line == 0, problem.line, problem.column)))
    if recipe.kind == "compare":
        wrong: list[Problem] = []
        for index, system in enumerate(systems_of(loaded, recipe)):
            wrong += _problems_of_system(loaded, index, system)
        if not wrong:  # what is read cannot be told of recipes that cannot be
            _check_overrides_are_read(loaded, recipe, wrong)
        if wrong:
            raise RecipeError(list(dict.fromkeys(wrong)))
    return loaded, recipe


def _problems_of_system(loaded: LoadedRecipe, index: int, system: System) -> Sequence[Problem]:
    try:
        part = load_recipe(system.path, (), system.overrides)
        if part.recipe.kind == "compare":
            message = f"a comparison compares prompt and train recipes (got {system.path.name}, which is a comparison)"
            return [loaded.document.problem(("recipes", index), f"{message}; list its recipes here")]
        check(system.path, (), system.overrides)
    except RecipeError as error:
        return error.problems
    except InputError as error:
        return [loaded.document.problem(("recipes", index), str(error))]
    return []


def systems_of(loaded: LoadedRecipe, recipe: Recipe) -> Iterator[System]:
    """Yield the systems of a comparison."""
    for entry in recipe.recipes or ():
        given = entry.recipe if isinstance(entry, ComparedRecipe) else entry
        path = recipe_path(given, loaded.path.parent)
        assert path is not None, "resolve_paths found it"
        own = entry.overrides if isinstance(entry, ComparedRecipe) else {}
        yield System(system_name(entry), path, Overrides(own, recipe.overrides, loaded.path.parent))


def _problems(loaded: LoadedRecipe, recipe: Recipe) -> list[Problem]:
    """Return what can only be told with a look at this machine and its files."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if recipe.kind != "compare":
        try:
            check_template(recipe.prompt_template)
        except InputError as error:
            found.append((("prompt_template",), str(error)))
        folder = model_folder(recipe.base_model or "")
        # Without config.json, which is a problem of the path, nothing can be told.
        if recipe.base_model is not None and (folder is None or is_file(folder / "config.json")):
            wrong = problems_of_model(recipe, folder)
            found += [(tuple(key.split(".")), message) for key, message in wrong]
    if recipe.deepspeed is not None and is_local(recipe.deepspeed) and is_file(Path(recipe.deepspeed)):
        try:
            config = parse_ds_config(Path(recipe.deepspeed))
        except InputError as error:
            found.append((("deepspeed",), str(error)))
        else:
            found += [(("deepspeed",), text) for text in _problems_of_ds_config(recipe, config)]
        if importlib.util.find_spec("deepspeed") is None:
            found.append((("deepspeed",), "deepspeed is not installed on this machine; pip install deepspeed"))
    trackers = (("wandb_project", "wandb"), ("use_tensorboard", "tensorboard"), ("mlflow_tracking_uri", "mlflow"))
    for key, package in trackers:
        if getattr(recipe, key) and importlib.util.find_spec(package) is None:
            found.append(((key,), f"{key} needs {package}, which is not installed; pip install {package}"))
    return [loaded.document.problem(path, message) for path, message in found]


def _problems_of_ds_config(recipe: Recipe, config: dict[str, Any]) -> Iterator[str]:
    path = Path(str(recipe.deepspeed))
    yield from wrong_with_config(config, path)
    yield from contradictions(config, recipe, path)
    yield from _not_compiled(recipe, config)


def _not_compiled(recipe: Recipe, config: dict[str, Any]) -> Iterator[str]:
    """Yield what this machine lacks for DeepSpeed's CPU optimizer; of the nodes of a cluster it cannot be told here."""
    if recipe.launcher == "local" and offloads(config.get("zero_optimization", {}), "offload_optimizer"):
        missing = missing_for_compiling()
        if missing:
            yield (
                "CPU offload compiles DeepSpeed's Adam when it is first used, and this machine cannot (got "
                f"{recipe.deepspeed}, without {', '.join(missing)}); install that, or use a config without offload"
            )


def _check_overrides_are_read(loaded: LoadedRecipe, recipe: Recipe, problems: list[Problem]) -> None:
    for key in recipe.overrides:
        top = key.split(".", 1)[0]
        readers = [system for system in systems_of(loaded, recipe) if _reads(system, top)]
        if not readers:
            problems.append(
                loaded.document.problem(("overrides", key), f"override {key} is read by none of the recipes; remove it")
            )


def _reads(system: System, top: str) -> bool:
    merged = load_recipe(system.path, (), system.overrides)
    return any(path and path[0] == top for path in merged.document.overridden)
