"""Loads the keys that scoring external outputs needs, on their own: there is no recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from summtune.base.errors import RecipeError
from summtune.recipe.document import Document, KeyPath
from summtune.recipe.overriding import NO_OVERRIDES, Setting, overridden
from summtune.recipe.parsing import parse_keys
from summtune.recipe.rules import evaluation_problems, unread_evaluation
from summtune.recipe.sections import DatasetSource, EvaluationSettings, Section


class ScoringKeys(Section):
    """The keys of a recipe that decide how outputs are scored, and against what."""

    evaluation: EvaluationSettings = EvaluationSettings()
    test_datasets: list[DatasetSource] = Field(default=[])


@dataclass(frozen=True)
class LoadedScoring:
    """Valid keys, and the positions of them.

    Args:
        keys: the values.
        document: values and positions, with overrides applied.
        displaced: a sentence for each key that an override displaced.
    """

    keys: ScoringKeys
    document: Document
    displaced: tuple[str, ...]


def load_scoring(document: Document, sets: Sequence[str | Setting]) -> LoadedScoring:
    """Return the keys in ``document`` with overrides applied, checked as those of a recipe are.

    Args:
        document: a mapping of these keys.
        sets: assignments ``key=value``.

    Raises:
        InputError: an assignment does not fit.
        RecipeError: there are problems; all of them.
    """
    document, displaced = overridden(document, document.file, sets, NO_OVERRIDES, _ineffective)
    keys, problems = parse_keys(ScoringKeys, document.value)
    found = list(problems.items())
    if keys is not None:
        found += evaluation_problems(document.value.get("evaluation", {}), keys)
    if found or keys is None:
        raise RecipeError([document.problem(path, message) for path, message in found])
    return LoadedScoring(keys, document, displaced)


def _ineffective(values: Mapping[str, Any]) -> dict[KeyPath, KeyPath]:
    keys, _ = parse_keys(ScoringKeys, values)
    if keys is None:
        return {}
    return {each.path: each.decisive for each in unread_evaluation(values.get("evaluation", {}), keys)}
