"""Finds what the paths of a recipe mean: a file beside it, a file of the package, or an id on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from summtune.document import KeyPath
from summtune.errors import Problem
from summtune.files import expanded, followed
from summtune.nearest import hint_or_list
from summtune.recipe import DatasetSource, Recipe
from summtune.recipe_loading import LoadedRecipe
from summtune.visible import is_utf8, visible

BUILTIN_MODELS = ("builtin/flan-t5-nano",)
BUILTIN_DATASETS = ("builtin/dialogues",)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_DATA_ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".txt")


def package_path(relative: str) -> Path:
    """Return the package's own copy of ``recipes/…``, ``ds_configs/…`` or ``assets/…``.

    An installed package carries them inside; in a checkout recipes and ds_configs stand beside the package.
    """
    package = Path(__file__).resolve().parent
    inside = package / relative
    return inside if inside.exists() else package.parent / relative


def is_local(path: str) -> bool:
    """Whether a resolved path is a file or folder of this machine (not builtin, not on the hub)."""
    return Path(path).is_absolute()


def model_folder(base_model: str) -> Path | None:
    """Return the folder of a builtin or local model; None for one on the hub."""
    if base_model in BUILTIN_MODELS:
        return package_path("assets/" + base_model.removeprefix("builtin/"))
    return Path(base_model) if is_local(base_model) else None


def resolve_paths(loaded: LoadedRecipe) -> tuple[Recipe, list[Problem]]:
    """Return the recipe with absolute local paths, and a problem for each path that leads nowhere."""
    recipe = loaded.recipe
    changes: dict[str, Any] = {}
    found: list[tuple[KeyPath, str]] = []
    if recipe.base_model is not None:
        changes["base_model"], complaints = _model(recipe.base_model, loaded.folder_of("base_model"))
        found += [(("base_model",), complaint) for complaint in complaints]
        if recipe.revision_of_model and (is_local(changes["base_model"]) or changes["base_model"] in BUILTIN_MODELS):
            found.append((("revision_of_model",), "revision_of_model has no effect for a local model; remove it"))
    for key in ("datasets", "test_datasets"):
        sources: list[DatasetSource] | None = getattr(recipe, key)
        if sources is not None:
            resolved = [_source(source, loaded.folder_of(key, at, "path")) for at, source in enumerate(sources)]
            changes[key] = [source for source, _ in resolved]
            found += [((key, at), complaint) for at, (_, complaints) in enumerate(resolved) for complaint in complaints]
    if recipe.deepspeed is not None:
        config = _file(recipe.deepspeed, loaded.folder_of("deepspeed"))
        if config is None:
            known = [f"ds_configs/{path.name}" for path in sorted(package_path("ds_configs").glob("*.json"))]
            hint = hint_or_list(recipe.deepspeed, known)
            found.append((("deepspeed",), f"no DeepSpeed config at this path (got {recipe.deepspeed}){hint}"))
        else:
            changes["deepspeed"] = str(config)
    if recipe.output_dir is not None:
        changes["output_dir"] = str(_beside(recipe.output_dir, loaded.folder_of("output_dir")))
    metrics_from = loaded.folder_of("evaluation", "metrics")
    metrics = [_metric(name, metrics_from) for name in recipe.evaluation.metrics]
    arguments, missing = _metric_arguments(loaded)
    found += missing
    changes["evaluation"] = recipe.evaluation.model_copy(update={"metrics": metrics, "metric_arguments": arguments})
    problems = [loaded.document.problem(path, message) for path, message in found]
    return recipe.model_copy(update=changes), [*problems, *_missing_recipes(loaded)]


def recipe_path(path: str, folder: Path) -> Path | None:
    """Return where a comparison's ``path`` leads: beside its file, or among the recipes that come along."""
    return _file(path, folder)


def _missing_recipes(loaded: LoadedRecipe) -> Iterator[Problem]:
    for index, entry in enumerate(loaded.recipe.recipes or ()):
        path = entry if isinstance(entry, str) else entry.recipe
        if recipe_path(path, loaded.path.parent) is None:
            yield loaded.document.problem(("recipes", index), f"no recipe at this path (got {path}); check the name")


def _beside(path: str, folder: Path) -> Path:
    resolved = followed(folder / expanded(path))
    return resolved if is_utf8(str(resolved)) else Path(visible(str(resolved)))  # behind a link; no plan can hold it


def _exists(path: Path, is_one: Callable[[Path], bool] = Path.exists) -> bool:
    """Return whether there is such a path; none that the system refuses to look at (too long, a loop, locked)."""
    try:
        return is_one(path)
    except OSError:
        return False


def _file(path: str, folder: Path) -> Path | None:
    beside = _beside(path, folder)
    if _exists(beside, Path.is_file):
        return beside
    inside = package_path(path)
    return inside if path.startswith(("ds_configs/", "recipes/")) and _exists(inside, Path.is_file) else None


def _metric(name: str, folder: Path) -> str:
    beside = _beside(name, folder)
    return str(beside) if _exists(beside) and ("/" in name or name.endswith(".py")) else name


def _metric_arguments(loaded: LoadedRecipe) -> tuple[dict[str, dict[str, Any]], list[tuple[KeyPath, str]]]:
    """Return the arguments of the metrics with absolute paths, and a complaint of each that leads nowhere."""
    resolved: dict[str, dict[str, Any]] = {}
    complaints: list[tuple[KeyPath, str]] = []
    for metric, arguments in loaded.recipe.evaluation.metric_arguments.items():
        resolved[metric] = dict(arguments)
        for key, value in arguments.items():
            if isinstance(value, str) and value.startswith(("./", "../")):
                path: KeyPath = ("evaluation", "metric_arguments", metric, key)
                beside = _beside(value, loaded.folder_of(*path))
                resolved[metric][key] = str(beside)
                if not _exists(beside):
                    complaints.append(
                        (path, f"{metric}.{key} leads nowhere (got {value}, looked at {beside}); check it")
                    )
    return resolved, complaints


def _model(base_model: str, folder: Path) -> tuple[str, list[str]]:
    """Return the model's path or id, and what is wrong with it."""
    resolved, wrong = _resource(base_model, folder, BUILTIN_MODELS, "model", ())
    if wrong:
        return resolved, [wrong]
    if is_local(resolved) and not _exists(Path(resolved) / "config.json", Path.is_file):
        return resolved, [f"a model is a folder with config.json (got {resolved}); name the folder that has it"]
    return resolved, []


def _source(source: DatasetSource, folder: Path) -> tuple[DatasetSource, list[str]]:
    """Return the source with its path resolved, and what is wrong with it."""
    resolved, wrong = _resource(source.path, folder, BUILTIN_DATASETS, "data set", _DATA_ENDINGS)
    complaints = [wrong] if wrong else []
    if not wrong and (is_local(resolved) or resolved in BUILTIN_DATASETS):
        complaints += [
            f"{key} has no effect for local data (got {getattr(source, key)!r} for {source.path}); remove it"
            for key in ("name", "revision")
            if getattr(source, key) is not None
        ]
        # A .json file can hold one list a split; the others hold one table.
        if _exists(Path(resolved), Path.is_file) and source.split is not None and not resolved.endswith(".json"):
            complaints.append(
                f"split has no effect for a single file (got {source.split!r} for {source.path}); remove it"
            )
    return source.model_copy(update={"path": resolved}), complaints


def _resource(
    given: str, folder: Path, builtin: tuple[str, ...], what: str, endings: tuple[str, ...]
) -> tuple[str, str | None]:
    """Return the resolved path, and what is wrong with it (None when nothing is)."""
    if given.startswith("builtin/"):
        wrong = None if given in builtin else f"no such builtin {what} (got {given}){hint_or_list(given, builtin)}"
        return given, wrong
    beside = _beside(given, folder)
    if _exists(beside):
        return str(beside), None
    looks_local = given.startswith((".", "/", "~")) or given.endswith(endings or ("/",)) or given.count("/") > 1
    if looks_local or not _HUB_ID.fullmatch(given):
        return (
            given,
            f"no {what} at this path (got {given}, looked at {beside}); check it, or give a hub id as owner/name",
        )
    return given, None
