"""Loads a recipe file, and reports all its problems at once, each with its position."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from summtune.base.errors import InputError, Problem, RecipeError
from summtune.base.files import followed
from summtune.base.hints import hint, hint_or_list
from summtune.base.visible import is_utf8
from summtune.recipe import rules as recipe_rules
from summtune.recipe.document import Document, KeyPath, key_path
from summtune.recipe.keys import Recipe
from summtune.recipe.yaml_reader import read_yaml_file, read_yaml_value

_TYPE_NAMES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}
# Names of keys in other tools, and their names here.
_OTHER_NAMES = {
    "fp16": "bf16",
    "batch_size": "micro_batch_size",
    "per_device_train_batch_size": "micro_batch_size",
    "epochs": "num_epochs",
    "num_train_epochs": "num_epochs",
    "lr": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "model": "base_model",
    "base_model_revision": "revision_of_model",
    "max_new_tokens": "generation.max_new_tokens",
    "num_beams": "generation.num_beams",
    "sequence_length": "sequence_len",
    "max_seq_length": "sequence_len",
}


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe, the file it came from, and the positions of its keys.

    Args:
        recipe: the values.
        document: the text's values and positions, with overrides applied.
        path: absolute path of the file.
    """

    recipe: Recipe
    document: Document
    path: Path

    @property
    def name(self) -> str:
        """The file's name without its ending, which names the run directory."""
        return self.path.name.removesuffix(".yaml").removesuffix(".yml")

    def folder_of(self, *path: str | int) -> Path:
        """Return the folder that a relative path at a key starts from: that of the file or override that sets it."""
        return self.document.position_of(path).folder or self.path.parent


@dataclass(frozen=True)
class Overrides:
    """What a comparison overrides in one of its recipes.

    Args:
        own: keys for this recipe only.
        shared: keys for every recipe that reads them; ``own`` takes precedence.
        folder: of the comparison; relative paths in the overrides start from it.
    """

    own: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None


NO_OVERRIDES = Overrides()


def load_recipe(path: Path, sets: Sequence[str] = (), overrides: Overrides = NO_OVERRIDES) -> LoadedRecipe:
    """Return the recipe in ``path`` with overrides applied.

    Args:
        path: the YAML file.
        sets: assignments ``key=value``, dotted for sections and list items (``datasets.0.limit=32``); applied last.
            Relative paths in them start from the current folder.
        overrides: what a comparison overrides in it.

    Raises:
        InputError: the file cannot be read as YAML, or an override does not fit into it.
        RecipeError: the file is YAML but has problems; all of them, in the order of the file.
    """
    return load_document(read_yaml_file(path), path, sets, overrides)


def load_document(
    document: Document, path: Path, sets: Sequence[str] = (), overrides: Overrides = NO_OVERRIDES
) -> LoadedRecipe:
    """Return the recipe in ``document`` with overrides applied; see ``load_recipe``."""
    if isinstance(document.value, dict):  # otherwise _validated reports what is wrong
        for key, value in overrides.own.items():
            _override(document, key, value, f"override {key} of {path.name}", overrides.folder)
        waiting = dict(overrides.shared)
        # One override can make the recipe read another one, regardless of their order.
        while read := [key for key, value in waiting.items() if _is_read(document, key, value)]:
            for key in read:
                _override(document, key, waiting.pop(key), f"override {key} of {path.name}", overrides.folder)
        for key, value in overrides.own.items():  # again: these take precedence over the shared ones
            _override(document, key, value, f"override {key} of {path.name}", overrides.folder)
        for assignment in sets:
            key, equals, text = assignment.partition("=")
            if not equals or not key.strip():
                raise InputError(f"--set takes key=value (got {assignment!r}); for instance --set seed=7")
            try:
                value = read_yaml_value(text)
            except InputError as error:
                raise InputError(f"--set {key}: {error}") from None
            _override(document, key.strip(), value, f"--set {assignment}", Path.cwd())
    place = followed(path)
    if not is_utf8(str(place)):
        raise InputError(f"the path of a recipe is UTF-8 text (got {place}); rename the file or its folder")
    return LoadedRecipe(_validated(document), document, place)


def _override(document: Document, key: str, value: Any, origin: str, folder: Path | None) -> None:
    """Apply an override to the document; removing a key that no recipe has is an error, as setting it would be."""
    if value is None and not document.holds(key):
        path = key_path(key)
        if path[-1] not in _known_keys(path[:-1]):
            raise InputError(f"{origin}: {_unknown_key(path)}")
        return
    document.assign(key, value, origin, folder)


def _is_read(document: Document, key: str, value: Any) -> bool:
    """Return whether the recipe, as written, would read an override of ``key``.

    An unknown key counts as read, so that it is reported.
    """
    path: KeyPath = tuple(key.split("."))
    top = str(path[0])
    if top not in Recipe.model_fields:
        return True
    if value is None:
        return document.holds(key)
    try:
        recipe = Recipe.model_validate(document.value)
    except ValidationError:
        return True
    return all(recipe_rules.no_effect(part, recipe) is None for part in ((top,), path))


def _validated(document: Document) -> Recipe:
    problems = list(document.problems)
    if not isinstance(document.value, dict):
        shown = type(document.value).__name__
        problems.append(
            document.problem((), f"a recipe is a mapping of keys (got a {shown}); start with `kind: train`")
        )
        raise RecipeError(problems)
    recipe, wrong = _parse(document, problems)
    if recipe is not None:
        given = {key: value for key, value in document.value.items() if key not in wrong}
        problems += [
            document.problem(path, message) for path, message in recipe_rules.rule_problems(given, recipe, wrong)
        ]
    if problems:
        unique = dict.fromkeys(problems)
        raise RecipeError(sorted(unique, key=lambda problem: (problem.line == 0, problem.line, problem.column)))
    assert recipe is not None
    return recipe


def _parse(document: Document, problems: list[Problem]) -> tuple[Recipe | None, set[str]]:
    """Return the recipe and its invalid top-level keys; the recipe is read as if those were not given."""
    values: dict[str, Any] = document.value
    try:
        return Recipe.model_validate(values), set()
    except ValidationError as error:
        details = error.errors(include_url=False)
    wrong = {str(detail["loc"][0]) for detail in details}
    noted = {(problem.line, problem.column) for problem in problems}
    for path, group in _by_path(details, values).items():
        problem = document.problem(path, _describe(path, group))
        unknown = group[0]["type"] == "extra_forbidden"
        if unknown or not path or (problem.line, problem.column) not in noted:
            problems.append(problem)
        if unknown and len(path) == 1:
            # Do not report the intended key as missing, nor judge what depends on it.
            wrong |= {_meant(str(path[0]))} - set(values)
    try:
        return Recipe.model_validate({key: value for key, value in values.items() if key not in wrong}), wrong
    except ValidationError:
        return None, wrong


def _by_path(details: Sequence[ErrorDetails], values: Any) -> dict[KeyPath, list[ErrorDetails]]:
    """Group errors by the key they belong to: pydantic adds the member of a union to the path, which is not a key."""
    groups: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in details:
        path: list[str | int] = []
        value = values
        for part in detail["loc"]:
            inside_mapping = isinstance(value, dict) and part in value
            inside_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
            if not (inside_mapping or inside_list):
                continue
            path.append(part)
            value = value[part]
        if detail["type"] == "missing":
            path.append(detail["loc"][-1])
        groups.setdefault(tuple(path), []).append(detail)
    # If one member of a union accepts the value and finds an error inside it, errors of the other members are noise.
    return {
        path: group
        for path, group in groups.items()
        if not (group[0]["type"] in _TYPE_NAMES and any(path == longer[: len(path)] != longer for longer in groups))
    }


def _describe(path: KeyPath, group: Sequence[ErrorDetails]) -> str:
    """Return one message for all the errors that pydantic reports for one key."""
    detail = group[0]
    dotted = ".".join(str(part) for part in path)
    shown = _shown(detail.get("input"))
    expected = list(dict.fromkeys(_TYPE_NAMES[item["type"]] for item in group if item["type"] in _TYPE_NAMES))
    literals = [item for item in group if item["type"] == "literal_error"]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(path)
        case "missing":
            return f"{dotted} is missing; add it"
        case kind if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return f"{dotted} must be {words} {detail['ctx'][name]} (got {shown})"
        case "string_too_short" | "too_short":
            least = detail["ctx"]["min_length"]
            unit = "item" if detail["type"] == "too_short" else "character"
            return f"{dotted} must have at least {least} {unit}{'s' if least > 1 else ''} (got {shown})"
    if literals:
        known = [word.strip("'") for word in literals[0]["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        choices = [*expected, " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))]
        meant = hint(detail["input"], known) if isinstance(detail["input"], str) else ""
        return f"{dotted} must be {' or '.join(choices)} (got {shown}){meant}"
    if expected:
        structure = isinstance(detail.get("input"), (dict, list)) and "text" in expected
        advice = "; quote text that contains braces, brackets or a colon" if structure else ""
        return f"{dotted} must be {' or '.join(expected)} (got {shown}){advice}"
    return f"{dotted}: {detail['msg']} (got {shown})"


def _meant(key: str) -> str:
    """Return the top-level key that an unknown one most likely means, or itself if none resembles it."""
    other = _OTHER_NAMES.get(key, "").split(".", 1)[0]
    return other or hint(key, Recipe.model_fields).removeprefix(", did you mean ").removesuffix("?") or key


def _unknown_key(path: KeyPath) -> str:
    key = str(path[-1])
    if len(path) == 1 and key in _OTHER_NAMES:
        return f"unknown key {key!r}; here it is called {_OTHER_NAMES[key]!r}"
    known = _known_keys(path[:-1])
    section = ".".join(str(part) for part in path[:-1])
    near = hint_or_list(key, known) if section else hint(key, known) or "; `summtune schema` lists every key"
    return f"unknown key {key!r}{f' in {section}' if section else ''}{near}"


@functools.cache
def _schema() -> dict[str, Any]:
    return Recipe.model_json_schema()


def _known_keys(path: KeyPath) -> list[str]:
    """Return the keys of the section at ``path``, found by walking the published schema."""
    schema = _schema()
    node: dict[str, Any] = schema
    for part in path:
        if isinstance(part, int):
            candidates = _sections(node, schema, wanted="items")
            node = candidates[0]["items"] if candidates else {}
        else:
            candidates = _sections(node, schema, wanted="properties")
            node = candidates[0]["properties"].get(part, {}) if candidates else {}
    return [key for section in _sections(node, schema, wanted="properties") for key in section["properties"]]


def _sections(node: dict[str, Any], schema: dict[str, Any], wanted: str) -> list[dict[str, Any]]:
    """Return the alternatives of a schema node that have ``wanted`` (properties or items), references followed."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    found = [node] if wanted in node else []
    for alternative in node.get("anyOf", ()):
        found += _sections(alternative, schema, wanted)
    return found


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool)) or value is None else type(value).__name__
    text = {"True": "true", "False": "false", "None": "null", "dict": "a section", "list": "a list"}.get(text, text)
    return text if len(text) <= 60 else text[:57] + "..."
