"""Turns scores of pairs (a prediction and one of its references) into scores of dialogues."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from summtune.runs.metrics import ByReferences, References

FloatArray = npt.NDArray[np.float64]


def by_dialogue(pairs: FloatArray, counts: Sequence[int], aggregate: References) -> FloatArray:
    """Return one score per dialogue, shape ``(dialogues, ...)``.

    Args:
        pairs: shape ``(pairs, ...)``; the pairs of a dialogue are adjacent.
        counts: number of pairs of each dialogue, at least one; they add up to ``pairs``.
        aggregate: the mean over a dialogue's references, or the best of them. The best is taken for each metric
            separately, as in ``RougeScorer.score_multi``.
    """
    sizes = np.asarray(counts)
    starts = np.cumsum(sizes) - sizes
    if aggregate == "max":
        return np.asarray(np.maximum.reduceat(pairs, starts), dtype=np.float64)
    sums = np.add.reduceat(pairs, starts)
    return np.asarray(sums / sizes.reshape(-1, *[1] * (sums.ndim - 1)), dtype=np.float64)


def by_references(pairs: FloatArray, counts: Sequence[int]) -> ByReferences:
    """Return the means over dialogues under every aggregation.

    ``each`` holds the score against the first references, the second ones, and so on; None if dialogues have different
    numbers of references, since the n-th references of only some dialogues are not a meaningful set.

    Args:
        pairs: of one metric, shape ``(pairs,)``.
        counts: number of pairs of each dialogue.
    """
    alike = len(set(counts)) == 1
    return ByReferences(
        mean=float(by_dialogue(pairs, counts, "mean").mean()),
        max=float(by_dialogue(pairs, counts, "max").mean()),
        each=tuple(pairs.reshape(-1, counts[0]).mean(axis=0).tolist()) if alike else None,
    )
