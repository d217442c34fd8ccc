"""Measures the uncertainty of means over dialogues: bootstrap intervals, paired differences and a permutation test.

The unit of resampling is the dialogue, regardless of its number of references: two references of one dialogue are not
two independent observations. The methods are the percentile bootstrap (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 13), its paired form for two systems on one test set (Koehn, *Statistical Significance Tests
for Machine Translation Evaluation*, EMNLP 2004), and the paired sign-flip permutation test (Good, *Permutation,
Parametric and Bootstrap Tests of Hypotheses*, 3rd edition 2005), whose p-values Holm's (1979) step-down procedure
corrects for their number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from summtune.runs.metrics import Estimate

FloatArray = npt.NDArray[np.float64]

_CHUNK_CELLS = 1_000_000
"""Resamples × dialogues held at once: 8 MB per matrix, for any number of resamples."""


def estimate_means(scores: FloatArray, *, samples: int, confidence: float, seed: int) -> list[Estimate]:
    """Return the mean of every column with its percentile bootstrap interval.

    The interval runs from the ``(1 - confidence) / 2`` to the ``(1 + confidence) / 2`` quantile of the means of
    ``samples`` resamples of the dialogues, drawn with replacement (Efron and Tibshirani 1993, chapter 13). All
    columns use the same resamples, so statements about different metrics rest on the same draws. The interval of a
    column of paired differences is Koehn's (2004) paired bootstrap.

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


def paired_p_values(differences: FloatArray, *, permutations: int, seed: int) -> FloatArray:
    """Return the two-sided p-value of every column's mean difference, shape ``(columns,)``.

    Under the hypothesis that two systems do not differ, the sign of each dialogue's difference is a coin flip. The
    value is ``(count + 1) / (permutations + 1)``, where ``count`` is the number of sign-flipped means at least as far
    from zero as the observed one; the 1 stands for the data themselves, which keeps the test exact and the value above
    zero (Good 2005; Phipson and Smyth, *Permutation P-values Should Never Be Zero*, 2010).

    Args:
        differences: shape ``(n, columns)``, one row per dialogue: score of one system minus score of the other.
        permutations: number of random sign flips.
        seed: same seed, same shape: same flips.
    """
    observed = np.abs(differences.mean(axis=0))
    # Sums in another order differ in the last bits; without this slack a tie may count as smaller and lower p.
    threshold = observed - 1e-12 * np.maximum(1.0, observed)
    count = np.zeros(differences.shape[1])
    for signs in _sign_flips(len(differences), permutations, seed):
        count += (np.abs(signs @ differences / len(differences)) >= threshold).sum(axis=0)
    return np.asarray((count + 1.0) / (permutations + 1.0), dtype=np.float64)


def holm(p_values: FloatArray) -> FloatArray:
    """Return the p-values with Holm's correction, shape ``(tests,)``, in the order given.

    If values below a level count as real, the probability of even one false alarm among all tests is at most that
    level, for any dependence between the tests (Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, 1979):
    the smallest of ``m`` values is multiplied by ``m``, the next by ``m - 1``, and none becomes smaller than the one
    before it.

    Args:
        p_values: shape ``(tests,)``.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return adjusted


def _resample_counts(n: int, samples: int, seed: int) -> Iterator[FloatArray]:
    """Yield matrices of shape ``(chunk, n)``: how often each dialogue is drawn in each resample; rows sum to ``n``."""
    generator = np.random.default_rng(seed)
    for rows in _chunks(n, samples):
        draws = generator.integers(0, n, size=(rows, n))
        draws += np.arange(rows)[:, np.newaxis] * n
        yield np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _sign_flips(n: int, permutations: int, seed: int) -> Iterator[FloatArray]:
    """Yield matrices of shape ``(chunk, n)`` of -1 and 1."""
    generator = np.random.default_rng(seed)
    for rows in _chunks(n, permutations):
        yield np.where(generator.integers(0, 2, size=(rows, n), dtype=np.int8), 1.0, -1.0)


def _chunks(n: int, total: int) -> Iterator[int]:
    """Yield row counts that add up to ``total``, each with at most ``_CHUNK_CELLS`` cells of ``n`` columns."""
    size = max(1, _CHUNK_CELLS // n)
    for start in range(0, total, size):
        yield min(size, total - start)
