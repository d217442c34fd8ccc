"""Loads a recipe file, and reports all its problems at once, each with its position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError, RecipeError
from summtune.base.files import followed
from summtune.base.visible import is_utf8
from summtune.recipe import rules as recipe_rules
from summtune.recipe.document import Document, KeyPath, key_path
from summtune.recipe.keys import KINDS_OF, Recipe
from summtune.recipe.parsing import known_keys, parse, unknown_key
from summtune.recipe.yaml_reader import read_yaml_file, read_yaml_value


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
        apply_sets(document, sets)
    place = followed(path)
    if not is_utf8(str(place)):
        raise InputError(f"the path of a recipe is UTF-8 text (got {place}); rename the file or its folder")
    return LoadedRecipe(_validated(document), document, place)


def apply_sets(document: Document, sets: Sequence[str]) -> None:
    """Apply assignments ``key=value`` to the document; relative paths in them start from the current folder.

    Raises:
        InputError: one is not an assignment, or does not fit into the document.
    """
    for assignment in sets:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set takes key=value (got {assignment!r}); for instance --set seed=7")
        try:
            value = read_yaml_value(text)
        except InputError as error:
            raise InputError(f"--set {key}: {error}") from None
        _override(document, key.strip(), value, f"--set {assignment}", Path.cwd())


def _override(document: Document, key: str, value: Any, origin: str, folder: Path | None) -> None:
    """Apply an override to the document; removing a key that no recipe has is an error, as setting it would be."""
    if value is None and not document.holds(key):
        path = key_path(key)
        if path[-1] not in known_keys(path[:-1]):
            raise InputError(f"{origin}: {unknown_key(path)}")
        return
    document.assign(key, value, origin, folder)


def _is_read(document: Document, key: str, value: Any) -> bool:
    """Return whether the recipe, as written, would read an override of ``key``.

    An unknown key counts as read, so that it is reported.
    """
    path: KeyPath = tuple(key.split("."))
    top = str(path[0])
    if top not in KINDS_OF:
        return True
    if value is None:
        return document.holds(key)
    parsed = parse(document.value)
    if parsed.recipe is None:
        return True
    return all(recipe_rules.no_effect(part, parsed.recipe, parsed.wrong) is None for part in ((top,), path))


def _validated(document: Document) -> Recipe:
    problems = list(document.problems)
    if not isinstance(document.value, dict):
        shown = type(document.value).__name__
        problems.append(
            document.problem((), f"a recipe is a mapping of keys (got a {shown}); start with `kind: train`")
        )
        raise RecipeError(problems)
    parsed = parse(document.value)
    noted = {(problem.line, problem.column) for problem in problems}
    for path, message in parsed.problems.items():
        problem = document.problem(path, message)
        if path in parsed.unknown or path[0] not in document.value or (problem.line, problem.column) not in noted:
            problems.append(problem)
    if parsed.recipe is not None:
        given = {key: value for key, value in document.value.items() if key not in parsed.wrong}
        found = recipe_rules.rule_problems(given, parsed.recipe, parsed.wrong)
        problems += [document.problem(path, message) for path, message in found]
    if problems or parsed.recipe is None:
        unique = dict.fromkeys(problems)
        raise RecipeError(sorted(unique, key=lambda problem: (problem.line == 0, problem.line, problem.column)))
    return parsed.recipe
