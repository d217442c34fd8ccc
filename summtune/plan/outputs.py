"""Checks a file of outputs that a comparison scores, next to its recipes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from summtune.base.places import BUILTIN_DATASETS, is_local
from summtune.data.outputs import matched_outputs, read_outputs
from summtune.data.reading import read_dialogues
from summtune.plan.keys import outputs_identity
from summtune.recipe.keys import RunRecipe
from summtune.recipe.sections import ComparedPredictions


@dataclass(frozen=True)
class CheckedOutputs:
    """A file of outputs without problems.

    Args:
        name: of the system in tables.
        entry: of the comparison, its path absolute.
        like: the recipe, paths resolved, whose test data and evaluation settings the outputs are scored with.
        matched: sentences on how the outputs were matched with the test data; empty if that is on the hub.
    """

    name: str
    entry: ComparedPredictions
    like: RunRecipe
    matched: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The hash of what determines their scores."""
        return outputs_identity(self.entry, self.name, self.like)

    @property
    def directory(self) -> str:
        """The name of their run directory."""
        return f"{Path(self.entry.predictions).stem}-{self.identity[:8]}"


def check_outputs(name: str, entry: ComparedPredictions, like: RunRecipe | None) -> CheckedOutputs | None:
    """Return a file of outputs that can be scored, as far as this can be known without the hub.

    Args:
        name: of the system.
        entry: of the comparison, its path absolute.
        like: the recipe whose test data the outputs are for; None if it has problems, and then so does the result.

    Raises:
        DataError: the file or the test data cannot be read, or they do not fit together.
    """
    sources = [] if like is None else like.test_datasets
    outputs = read_outputs(entry, sources)
    if like is None:
        return None
    if all(is_local(source.path) or source.path in BUILTIN_DATASETS for source in sources):
        matched = matched_outputs(outputs, sources, read_dialogues(sources, "test"))
        return CheckedOutputs(name, entry, like, matched.of_match)
    return CheckedOutputs(name, entry, like)
