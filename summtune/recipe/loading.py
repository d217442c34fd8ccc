"""Loads a recipe file, and reports all its problems at once, each with its position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import InputError, RecipeError
from summtune.base.files import followed
from summtune.base.visible import is_utf8
from summtune.recipe import rules as recipe_rules
from summtune.recipe.document import Document
from summtune.recipe.keys import Recipe
from summtune.recipe.overriding import NO_OVERRIDES, Overrides, Setting, overridden
from summtune.recipe.parsing import parse
from summtune.recipe.yaml_reader import read_yaml_file


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


def load_recipe(path: Path, sets: Sequence[str | Setting] = (), overrides: Overrides = NO_OVERRIDES) -> LoadedRecipe:
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
    document: Document, path: Path, sets: Sequence[str | Setting] = (), overrides: Overrides = NO_OVERRIDES
) -> LoadedRecipe:
    """Return the recipe in ``document`` with overrides applied; see `load_recipe`.

    Raises:
        InputError: the path is not UTF-8 text, or an override does not fit.
        RecipeError: the recipe has problems; contains all of them.
    """
    if isinstance(document.value, dict):  # otherwise _validated reports what is wrong
        document = overridden(document, path.name, sets, overrides)
    place = followed(path)
    if not is_utf8(str(place)):
        raise InputError(f"the path of a recipe is UTF-8 text (got {place}); rename the file or its folder")
    return LoadedRecipe(_validated(document), document, place)


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
