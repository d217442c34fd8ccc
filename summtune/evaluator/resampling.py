"""Resamples dialogues: bootstrap intervals of means, and the sign flips of paired tests.

The unit of resampling is the dialogue, regardless of its number of references: two references of one dialogue are not
two independent observations. The interval of a mean is that of the percentile bootstrap (Efron and Tibshirani, *An
Introduction to the Bootstrap*, 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from summtune.runs.metrics import Estimate

FloatArray = npt.NDArray[np.float64]

_CHUNK_CELLS = 1_000_000
"""Cells of a matrix held at once, resamples × dialogues: 8 MB, for any number of resamples."""


def estimate_means(scores: FloatArray, *, samples: int, confidence: float, seed: int) -> list[Estimate]:
    """Return the mean of every column with its percentile bootstrap interval.

    The interval runs from the ``(1 - confidence) / 2`` to the ``(1 + confidence) / 2`` quantile of the means of
    ``samples`` resamples of the dialogues, drawn with replacement (Efron and Tibshirani 1993, chapter 13). All
    columns use the same resamples, so statements about different metrics rest on the same draws.

    Args:
        scores: shape ``(n, columns)``, one row per dialogue.
        samples: number of resamples.
        confidence: between 0 and 1, for instance 0.95.
        seed: same seed, same shape: same resamples.
    """
    values = scores.mean(axis=0)
    if len(scores) < 2:
        return [Estimate(value=float(value), ci_low=None, ci_high=None) for value in values]
    means = bootstrap_means(scores, samples=samples, seed=seed)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return [
        Estimate(value=float(value), ci_low=float(a), ci_high=float(b))
        for value, a, b in zip(values, low, high, strict=True)
    ]


def bootstrap_means(scores: FloatArray, *, samples: int, seed: int) -> FloatArray:
    """Return the column means of ``samples`` resamples of the rows, shape ``(samples, columns)``.

    A resample is a row of counts, how often each dialogue was drawn; the means of all columns are then one matrix
    product, ``counts @ scores / n``.
    """
    n = len(scores)
    means = [counts @ scores / n for counts in _resample_counts(n, samples, seed)]
    return np.concatenate(means)


def _resample_counts(n: int, samples: int, seed: int) -> Iterator[FloatArray]:
    """Yield matrices of shape ``(chunk, n)``: how often each dialogue is drawn in each resample; rows sum to ``n``."""
    generator = np.random.default_rng(seed)
    for rows in _chunks(n, samples):
        draws = generator.integers(0, n, size=(rows, n))
        draws += np.arange(rows)[:, np.newaxis] * n
        yield np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def sign_flips(n: int, permutations: int, seed: int, columns: int = 1) -> Iterator[FloatArray]:
    """Yield matrices of shape ``(chunk, n)`` of -1 and 1, with ``permutations`` rows in all.

    Under the hypothesis that two systems do not differ, the sign of each dialogue's difference is a coin flip (Good,
    *Permutation, Parametric and Bootstrap Tests of Hypotheses*, 3rd edition 2005).

    Args:
        n: dialogues.
        permutations: number of random sign flips.
        seed: same seed, same shape: same flips.
        columns: of what the signs are multiplied with; the product is held at once too.
    """
    generator = np.random.default_rng(seed)
    for rows in _chunks(max(n, columns), permutations):
        yield np.where(generator.integers(0, 2, size=(rows, n), dtype=np.int8), 1.0, -1.0)


def _chunks(n: int, total: int) -> Iterator[int]:
    """Yield row counts that add up to ``total``, each with at most ``_CHUNK_CELLS`` cells of ``n`` columns."""
    size = max(1, _CHUNK_CELLS // n)
    for start in range(0, total, size):
        yield min(size, total - start)
