"""Lists the keys of a recipe that overrides displace, for every command that reads a recipe."""

from __future__ import annotations

from summtune.plan.checking import Checked, CheckedComparison
from summtune.plan.draft import CompareDraft, Draft, ScoredDraft
from summtune.plan.outputs import CheckedOutputs


def displaced_keys(recipe: Checked | Draft) -> list[str]:
    """Return a sentence for each key that overrides displace in a recipe and in the recipes that it compares."""
    parts = recipe.parts if isinstance(recipe, (CheckedComparison, CompareDraft)) else ()
    compared = (part.loaded for _, part in parts if not isinstance(part, (CheckedOutputs, ScoredDraft)))
    loaded = [recipe.loaded, *compared]
    return list(dict.fromkeys(text for each in loaded for text in each.document.displaced))
