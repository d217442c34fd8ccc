"""The command ``validate``: reports every problem in every recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from summtune.base.errors import RecipeError, SummtuneError
from summtune.base.printing import say, say_lines
from summtune.commands.displaced import displaced_keys
from summtune.plan.checking import check


def validate_recipes(recipes: Sequence[Path], sets: Sequence[str]) -> bool:
    """Print every problem in the recipes; return whether there is none.

    Args:
        recipes: the files.
        sets: ``--set`` assignments, which override keys of every recipe as in ``summtune run``.
    """
    valid = True
    for recipe in recipes:
        try:
            say_lines(displaced_keys(check(recipe, sets)))
        except SummtuneError as error:
            valid = False
            say_lines(map(str, error.problems)) if isinstance(error, RecipeError) else say(str(error))
        else:
            say_lines([f"{recipe}: valid"])
    return valid
