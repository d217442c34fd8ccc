"""The command ``validate``: reports every problem of every recipe, and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from summtune.base.errors import RecipeError, SummtuneError
from summtune.base.printing import say, say_lines
from summtune.commands.displaced import displaced_keys
from summtune.plan.checking import check


def validate_recipes(recipes: Sequence[Path], sets: Sequence[str]) -> bool:
    """Return whether nothing is wrong with any of the recipes; each problem is printed.

    Args:
        recipes: the files.
        sets: assignments ``key=value`` that override every one of them, checked as ``summtune run`` does.
    """
    fine = True
    for recipe in recipes:
        try:
            say_lines(displaced_keys(check(recipe, sets)))
        except SummtuneError as error:
            fine = False
            say_lines(map(str, error.problems)) if isinstance(error, RecipeError) else say(str(error))
        else:
            say_lines([f"{recipe}: fine"])
    return fine
