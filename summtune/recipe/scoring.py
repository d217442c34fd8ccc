"""Loads the keys for scoring external outputs, without a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from summtune.base.errors import RecipeError
from summtune.recipe.document import Document
from summtune.recipe.ineffective import Ineffective, unread_evaluation
from summtune.recipe.overriding import Setting, with_sets
from summtune.recipe.parsing import parse_keys
from summtune.recipe.rules import evaluation_problems
from summtune.recipe.sections import DatasetSource, EvaluationSettings, Section


class ScoringKeys(Section):
    """The keys of a recipe that determine how outputs are scored, and against which references."""

    evaluation: EvaluationSettings = EvaluationSettings()
    test_datasets: list[DatasetSource] = Field(default=[])


@dataclass(frozen=True)
class LoadedScoring:
    """Valid keys, and where they come from.

    Args:
        keys: the values.
        document: the values and their positions, with overrides applied.
    """

    keys: ScoringKeys
    document: Document


def load_scoring(document: Document, sets: Sequence[str | Setting]) -> LoadedScoring:
    """Return the keys in ``document`` with overrides applied, checked as those of a recipe are.

    Args:
        document: a mapping of these keys; it is not changed.
        sets: ``--set`` assignments.

    Raises:
        InputError: an assignment does not fit.
        RecipeError: there are problems; contains all of them.
    """
    document = with_sets(document, sets, _ineffective)
    keys, problems = parse_keys(ScoringKeys, document.value)
    found = list(problems.items())
    if keys is not None:
        found += evaluation_problems(document.value.get("evaluation") or {}, keys)
    if found or keys is None:
        raise RecipeError([document.problem(path, message) for path, message in found])
    return LoadedScoring(keys, document)


def _ineffective(values: Mapping[str, Any]) -> list[Ineffective]:
    keys, _ = parse_keys(ScoringKeys, values)
    return [] if keys is None else list(unread_evaluation(values.get("evaluation") or {}, keys))
