"""Resolves the paths of a recipe: a file next to it, a bundled file, or a hub id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from summtune.base.errors import InputError, Problem
from summtune.base.file_endings import FILE_EXTENSIONS, names_file, wrong_with_format
from summtune.base.files import check_regular, expanded, followed, irregular, irregular_files, is_file
from summtune.base.hints import hint_or_list
from summtune.base.places import BUILTIN_DATASETS, BUILTIN_MODELS, is_local, package_path
from summtune.base.visible import is_utf8, visible
from summtune.recipe.adapters.folders import not_a_model
from summtune.recipe.document import Document, KeyPath
from summtune.recipe.keys import (
    CHAT_TEMPLATES,
    CompareRecipe,
    EndpointRecipe,
    LocalRecipe,
    PromptRecipe,
    Recipe,
    RunRecipe,
    TrainRecipe,
    data_keys,
)
from summtune.recipe.loading import LoadedRecipe
from summtune.recipe.rules import KeyProblem
from summtune.recipe.sections import ComparedEntry, ComparedPredictions, DatasetSource, EvaluationSettings

FolderOf: TypeAlias = Callable[..., Path]
_R = TypeVar("_R", bound=PromptRecipe | EndpointRecipe | TrainRecipe | CompareRecipe)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def resolve_paths(recipe: _R, loaded: LoadedRecipe) -> tuple[_R, list[Problem]]:
    """Return a recipe with absolute local paths, and a problem for each path that does not exist.

    Args:
        recipe: as it was loaded.
        loaded: the file, for the positions of the paths and the folders that they start from.
    """
    given: Recipe = recipe
    changes: dict[str, Any] = {}
    found: list[KeyProblem] = []
    if recipe.output_dir is not None:
        try:
            changes["output_dir"] = str(_absolute(recipe.output_dir, loaded.folder_of("output_dir")))
        except InputError as error:
            found.append((("output_dir",), str(error)))
    if isinstance(given, CompareRecipe):
        changes["recipes"] = [
            _with_file(entry, loaded.folder_of("recipes", index, "predictions"), index, found)
            for index, entry in enumerate(given.recipes)
        ]
        found += _missing_recipes(given, loaded.path.parent)
    else:
        changes |= _run(given, loaded, found)
    resolved = cast("_R", recipe.model_copy(update=changes))
    problems = [loaded.document.problem(path, message) for path, message in found]
    return resolved, sorted(problems, key=lambda problem: (problem.line == 0, problem.line, problem.column))


def resolve_model(base_model: str, folder: Path) -> tuple[str, list[str]]:
    """Return the model's path or id, and what is wrong with it."""
    resolved, wrong = _resource(base_model, folder, BUILTIN_MODELS, "model")
    if wrong:
        return resolved, [wrong]
    if resolved.lower().endswith(("-gguf", ".gguf")):  # on the hub, their repositories are named so
        return resolved, [gguf(base_model)]
    if not is_local(resolved):
        return resolved, []
    odd = irregular_files(Path(resolved))
    if odd:  # the libraries that load the model would wait for it forever
        return resolved, [f"a model folder must contain only regular files (got {odd[0]}); remove it"]
    if not is_file(Path(resolved) / "config.json"):
        if Path(resolved).is_dir() and any(Path(resolved).glob("*.gguf")):
            return resolved, [gguf(base_model)]
        if (message := not_a_model(Path(resolved))) is not None:
            return resolved, [message]
        return resolved, [f"a model is a folder with config.json (got {resolved}); give the folder that has it"]
    return resolved, []


def gguf(name: object) -> str:
    """Return the message for a model in the format of llama.cpp."""
    return (
        f"GGUF files hold rounded weights, which cannot be trained (got {name}); give the model that they were made "
        "from, or convert one with transformers: "
        'AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=FILE).save_pretrained("model"), and its tokenizer too'
    )


def resolve_source(
    source: DatasetSource, folder: Path, gives_way: Callable[[str], bool] = lambda _: False
) -> tuple[DatasetSource, list[str]]:
    """Return a data set with its path resolved, and what is wrong with it.

    Args:
        source: as given.
        folder: that a relative path starts from.
        gives_way: returns whether a key that has no effect is left out; otherwise it is wrong.
    """
    resolved, wrong = _resource(source.path, folder, BUILTIN_DATASETS, "data set")
    complaints = [wrong] if wrong else []
    changes: dict[str, str | None] = {"path": resolved}
    if not wrong and (is_local(resolved) or resolved in BUILTIN_DATASETS):
        for key, what in _unread_keys(source, resolved):
            if gives_way(key):
                changes[key] = None
            else:
                given = getattr(source, key)
                complaints.append(f"{key} has no effect for {what} (got {given!r} for {source.path}); remove it")
        if is_file(Path(resolved)):
            complaints += [wrong] if (wrong := wrong_with_format(resolved)) else []
        elif (kind := irregular(Path(resolved))) is not None:
            complaints.append(f"not a regular file (got {source.path}, {kind}); give a file or a folder")
    return source.model_copy(update=changes), complaints


def _unread_keys(source: DatasetSource, resolved: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of local data that have no effect, each with what it has none for."""
    if source.name is not None:
        yield "name", "local data"
    if source.revision is not None:
        yield "revision", "local data"
    # A .json file can hold one list per split; the others hold one table.
    if source.split is not None and is_file(Path(resolved)) and not resolved.endswith(".json"):
        yield "split", "a single file"


def resolve_evaluation(
    settings: EvaluationSettings, folder_of: FolderOf
) -> tuple[EvaluationSettings, list[KeyProblem]]:
    """Return the evaluation settings with absolute paths, and what is wrong with those.

    Args:
        settings: as given.
        folder_of: returns the folder that a relative path at a key path starts from.
    """
    metrics, complaints = _metrics(settings.metrics, folder_of("evaluation", "metrics"))
    arguments, missing = _metric_arguments(settings, folder_of)
    found: list[KeyProblem] = [(("evaluation", "metrics"), complaint) for complaint in complaints]
    return settings.model_copy(update={"metrics": metrics, "metric_arguments": arguments}), [*found, *missing]


def _run(recipe: RunRecipe, loaded: LoadedRecipe, found: list[KeyProblem]) -> dict[str, Any]:
    """Return the keys of a prompt or train recipe that name paths, resolved; what is wrong is added to ``found``.

    A key that has no effect on what a path names is left out where it is outranked by that path.
    """
    folder_of, document = loaded.folder_of, loaded.document
    changes = {} if isinstance(recipe, EndpointRecipe) else _local(recipe, loaded, found)
    for key, sources in data_keys(recipe):
        resolved = [
            resolve_source(source, folder_of(key, at, "path"), _giving_way(document, (key, at)))
            for at, source in enumerate(sources)
        ]
        changes[key] = [source for source, _ in resolved]
        found += [((key, at), complaint) for at, (_, complaints) in enumerate(resolved) for complaint in complaints]
    changes["evaluation"], wrong = resolve_evaluation(recipe.evaluation, folder_of)
    found += wrong
    return changes


def _local(recipe: LocalRecipe, loaded: LoadedRecipe, found: list[KeyProblem]) -> dict[str, Any]:
    """Return the keys that name paths and that only a recipe with a model on this machine has; see `_run`."""
    folder_of, document = loaded.folder_of, loaded.document
    changes: dict[str, Any] = {}
    changes["base_model"], complaints = resolve_model(recipe.base_model, folder_of("base_model"))
    found += [(("base_model",), complaint) for complaint in complaints]
    if recipe.revision_of_model and (is_local(changes["base_model"]) or changes["base_model"] in BUILTIN_MODELS):
        if document.gives_way(("revision_of_model",), to=("base_model",)):
            changes["revision_of_model"] = None
        else:
            found.append((("revision_of_model",), "revision_of_model has no effect for a local model; remove it"))
    if isinstance(recipe, TrainRecipe) and recipe.deepspeed is not None:
        changes["deepspeed"], complaints = _ds_config(recipe.deepspeed, folder_of("deepspeed"))
        found += [(("deepspeed",), complaint) for complaint in complaints]
    changes["chat_template"], complaints = _chat_template(recipe.chat_template, folder_of("chat_template"))
    found += [(("chat_template",), complaint) for complaint in complaints]
    return changes


def _giving_way(document: Document, source: KeyPath) -> Callable[[str], bool]:
    """Return a function that displaces a key of the data set at ``source`` if the path outranks it; it returns whether
    the key was displaced.
    """
    return lambda key: document.gives_way((*source, key), to=(*source, "path"))


def recipe_path(path: str, folder: Path) -> Path | None:
    """Return the file that a comparison's ``path`` names: next to its own file, or bundled; None if there is none.

    Raises:
        InputError: it starts with ``~`` and a user who has no home, or is not a regular file.
    """
    return _file(path, folder)


def _missing_recipes(recipe: CompareRecipe, folder: Path) -> Iterator[KeyProblem]:
    for index, entry in enumerate(recipe.recipes):
        if isinstance(entry, ComparedPredictions):
            continue
        path = entry if isinstance(entry, str) else entry.recipe
        try:
            if recipe_path(path, folder) is None:
                yield ("recipes", index), f"no recipe at this path (got {path}); check the name"
        except InputError as error:
            yield ("recipes", index), str(error)


def _with_file(entry: ComparedEntry, folder: Path, index: int, found: list[KeyProblem]) -> ComparedEntry:
    """Return an entry with the absolute path of its file of outputs; what is wrong with it is added to ``found``."""
    if not isinstance(entry, ComparedPredictions):
        return entry
    try:
        absolute = _absolute(entry.predictions, folder)
        check_regular(absolute)
    except InputError as error:
        found.append((("recipes", index, "predictions"), str(error)))
        return entry
    return entry.model_copy(update={"predictions": str(absolute)})


def _absolute(path: str, folder: Path) -> Path:
    resolved = followed(folder / expanded(path))
    return resolved if is_utf8(str(resolved)) else Path(visible(str(resolved)))  # behind a link; JSON cannot hold it


def _exists(path: Path) -> bool:
    """Return whether the path exists; False if the system cannot look at it (too long, a loop, no permission)."""
    try:
        return path.exists()
    except OSError:
        return False


def _file(path: str, folder: Path) -> Path | None:
    absolute = _absolute(path, folder)
    check_regular(absolute)
    if is_file(absolute):
        return absolute
    inside = package_path(path)
    return inside if path.startswith(("ds_configs/", "recipes/")) and is_file(inside) else None


def _ds_config(path: str, folder: Path) -> tuple[str, list[str]]:
    """Return the path of a DeepSpeed config, and what is wrong with it."""
    try:
        config = _file(path, folder)
    except InputError as error:
        return path, [str(error)]
    if config is not None:
        return str(config), []
    known = [f"ds_configs/{path.name}" for path in sorted(package_path("ds_configs").glob("*.json"))]
    return path, [f"no DeepSpeed config at this path (got {path}){hint_or_list(path, known)}"]


def _chat_template(given: str, folder: Path) -> tuple[str, list[str]]:
    """Return the name of a chat template or the path of its file, and what is wrong with it."""
    if given in CHAT_TEMPLATES:
        return given, []
    try:
        absolute = _absolute(given, folder)
        check_regular(absolute)
    except InputError as error:
        return given, [str(error)]
    if is_file(absolute):
        return str(absolute), []
    names = hint_or_list(given, CHAT_TEMPLATES)
    return given, [f"no chat template at this path (got {given}, looked at {absolute}){names}, or a Jinja file"]


def _metrics(names: Sequence[str], folder: Path) -> tuple[list[str], list[str]]:
    """Return the metrics, files and folders as absolute paths, and what is wrong with them."""
    resolved, complaints = [], []
    for name in names:
        try:
            absolute = _absolute(name, folder)
            local = "/" in name or name.endswith(".py")
            if local:
                check_regular(absolute)
            if local and not _exists(absolute) and _looks_local(name):
                complaints.append(f"no metric at this path (got {name}, looked at {absolute}); check it")
            resolved.append(str(absolute) if local and _exists(absolute) else name)
        except InputError as error:
            complaints.append(str(error))
            resolved.append(name)
    return resolved, complaints


def _metric_arguments(
    settings: EvaluationSettings, folder_of: FolderOf
) -> tuple[dict[str, dict[str, Any]], list[KeyProblem]]:
    """Return the arguments of the metrics with absolute paths, and a complaint for each path that does not exist."""
    resolved: dict[str, dict[str, Any]] = {}
    complaints: list[KeyProblem] = []
    for metric, arguments in settings.metric_arguments.items():
        resolved[metric] = dict(arguments)
        for key, value in arguments.items():
            if isinstance(value, str) and value.startswith(("./", "../", "~/")):
                path: KeyPath = ("evaluation", "metric_arguments", metric, key)
                absolute = _absolute(value, folder_of(*path))
                kind = irregular(absolute)
                if kind is not None:
                    complaints.append(
                        (path, f"{metric}.{key} is not a regular file (got {value}, {kind}); give a file")
                    )
                resolved[metric][key] = str(absolute)
                if not _exists(absolute):
                    complaints.append(
                        (path, f"no file for {metric}.{key} at this path (got {value}, looked at {absolute}); check it")
                    )
    return resolved, complaints


def _resource(given: str, folder: Path, builtin: tuple[str, ...], what: str) -> tuple[str, str | None]:
    """Return the resolved path, and what is wrong with it (None if nothing is)."""
    if given.startswith("builtin/"):
        wrong = None if given in builtin else f"no such builtin {what} (got {given}){hint_or_list(given, builtin)}"
        return given, wrong
    try:
        absolute = _absolute(given, folder)
    except InputError as error:
        return given, str(error)
    if _exists(absolute):
        return str(absolute), None
    if _looks_local(given) or not _HUB_ID.fullmatch(given):
        advice = "check it, or give a hub id as owner/name"
        if what == "data set" and names_file(given) and wrong_with_format(given):
            advice = f"check it, and save the data as one of {', '.join(FILE_EXTENSIONS)}: its format is not supported"
        return given, f"no {what} at this path (got {given}, looked at {absolute}); {advice}"
    return given, None


def _looks_local(given: str) -> bool:
    """Return whether a path that does not exist means a file or folder, and so is not looked up on the hub."""
    return given.startswith((".", "/", "~")) or given.endswith("/") or given.count("/") > 1 or names_file(given)
