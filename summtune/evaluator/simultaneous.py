"""Tests all differences of a table at once, with intervals that exclude zero exactly where the test finds a difference.

**The test** is Westfall and Young's step-down max-T (*Resampling-Based Multiple Testing*, 1993; Ge, Dudoit and Speed,
*Resampling-based Multiple Testing for Microarray Data Analysis*, Test 12, 2003) over paired sign flips. A flip changes
the sign of all differences of a dialogue at once, so that columns which move together, as the ROUGE metrics do, count
as fewer tests than they are. The statistic of a column is its t statistic, which makes ROUGE, perplexities and counts
comparable. The probability of even one false alarm is at most ``1 - confidence`` for any set of real differences
(Romano and Wolf, *Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing*, JASA 100, 2005): exactly
where the vector of the differences that are not real has a distribution symmetric about zero, else for many dialogues.

**The intervals** are ``mean ± critical × standard error``. A step-down test finds more than a test in one step
because each step asks for less than the one before. The known intervals that agree with such a test and still cover
together pay for that: as one-sided bounds, they end at zero for the rows that were found, unless all were (Strassburger
and Bretz, *Compatible Simultaneous Lower Confidence Bounds for the Holm Procedure*, Statistics in Medicine 27, 2008;
Guilbaud, *Simultaneous Confidence Regions Corresponding to Holm's Step-Down Procedure*, Biometrical Journal 50, 2008).
These keep both ends, and give up some of the coverage together:

- The *band* is the critical value of the first step, or that of the differences about their means where it is larger
  (these are what varies once a difference is real). All intervals with the band cover the truth together with
  probability ``confidence``.
- Each row gets the band, but for those that only a later step finds. The band would include zero for them. They get
  the critical value of the step that found them, which is never below that of a single test: each of these intervals
  covers with probability ``confidence`` by itself, and with the same probability none excludes a true zero. All
  together then cover less often than the band does: in simulations at 95 % as few as 91 %, where few differences are
  zero and the rest are found at once.

``benchmarks/simultaneous.py`` measures these rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from summtune.evaluator.resampling import sign_flips

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_TIE = 1e-10
"""Statistics (from 0 to 1) this close are equal: sums in another order differ in the last bits."""


@dataclass(frozen=True)
class TestedMean:
    """A mean difference with its test.

    Args:
        value: the mean over dialogues.
        low: lower end of its interval; None if there are too few dialogues to bound it.
        high: upper end; None likewise.
        p_value: of this test alone.
        p_adjusted: of this test among all. It is below ``1 - confidence`` exactly if the interval excludes zero.
    """

    __test__ = False  # of pytest

    value: float
    low: float | None
    high: float | None
    p_value: float
    p_adjusted: float


def compare_with_zero(differences: FloatArray, *, permutations: int, confidence: float, seed: int) -> list[TestedMean]:
    """Return the mean of every column with its simultaneous interval and its two-sided p-values.

    A p-value is ``(count + 1) / (permutations + 1)``, where ``count`` is the number of flips with a statistic at least
    as large as the observed one; the 1 stands for the data themselves, which keeps the test exact and the value above
    zero (Phipson and Smyth, *Permutation P-values Should Never Be Zero*, 2010). For ``p_value`` the statistic is the
    column's own; for ``p_adjusted`` it is the largest of the columns whose observed one is no larger, and no
    ``p_adjusted`` is smaller than that of a column with a larger statistic.

    Args:
        differences: shape ``(n, columns)``, one row per dialogue: score of one system minus score of the other.
        permutations: number of random sign flips.
        confidence: between 0 and 1, for instance 0.95.
        seed: same seed, same shape: same flips.
    """
    n = len(differences)
    columns = _standardize(differences)
    order = np.argsort(-columns.observed, kind="stable")
    alpha = 1.0 - confidence
    # The p-values that can result and count as real; the statistic must exceed the maxima of all but so many flips.
    allowed = int(np.searchsorted(np.arange(1, permutations + 2) / (permutations + 1), alpha))
    flips = _flip(columns.take(order), permutations=permutations, seed=seed, keep=allowed)

    adjusted = np.maximum.accumulate((flips.steps + 1.0) / (permutations + 1.0))
    critical = _critical_values(columns.observed[order], flips, adjusted < alpha)
    back = np.argsort(order, kind="stable")
    p_adjusted, half = adjusted[back], _as_t(critical, n)[back]
    means = differences.mean(axis=0)
    low, high = _ends(means, half, columns.errors, p_adjusted < alpha)
    p_values = ((flips.alone + 1.0) / (permutations + 1.0))[back]
    return [
        TestedMean(
            value=float(mean),
            low=float(a) if np.isfinite(t) else None,
            high=float(b) if np.isfinite(t) else None,
            p_value=float(p_value),
            p_adjusted=float(p),
        )
        for mean, a, b, t, p_value, p in zip(means, low, high, half, p_values, p_adjusted, strict=True)
    ]


@dataclass(frozen=True)
class _Columns:
    """Columns of differences on one scale.

    The statistic is ``|sum| / (√n · norm)``, the cosine between the differences and their signs, from 0 to 1. It is
    the same increasing function of the t statistic for every column, ``t = √(n - 1) · c / √(1 - c²)``, so that its
    maximum is where that of t is. Unlike t it is finite, and a flip changes only its numerator.

    Args:
        scaled: shape ``(n, columns)``; ``signs @ scaled`` is the signed statistic; zeros for a column of zeros.
        observed: the statistics of the data, shape ``(columns,)``.
        growth: norm over the norm about the mean; 0 for a constant column, whose statistic about the mean is 0.
        shift: the mean of ``scaled`` times ``growth``.
        errors: standard errors of the means, 0 for a constant column.
    """

    scaled: FloatArray
    observed: FloatArray
    growth: FloatArray
    shift: FloatArray
    errors: FloatArray

    def take(self, order: npt.NDArray[np.intp]) -> _Columns:
        """Return the columns in another order."""
        return _Columns(
            np.ascontiguousarray(self.scaled[:, order]),
            self.observed[order],
            self.growth[order],
            self.shift[order],
            self.errors[order],
        )


def _standardize(differences: FloatArray) -> _Columns:
    n = len(differences)
    largest = np.abs(differences).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)  # squares of what is left can neither overflow nor vanish
    values = differences / unit
    norms = np.sqrt((values**2).sum(axis=0))
    scaled = values / (np.sqrt(n) * np.where(norms > 0, norms, 1.0))
    about_mean = np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=0))
    about_mean[about_mean <= _TIE * norms] = 0.0  # a constant, whose mean is off by a rounding
    growth = np.divide(norms, about_mean, out=np.zeros_like(norms), where=about_mean > 0)
    return _Columns(
        scaled=scaled,
        observed=np.abs(scaled.sum(axis=0)),
        growth=growth,
        shift=scaled.mean(axis=0) * growth,
        errors=unit * about_mean / np.sqrt(n * max(1, n - 1)),
    )


@dataclass(frozen=True)
class _Flips:
    """What sign flips of columns in descending order of their statistics showed.

    Args:
        alone: for each column the flips with a statistic at least as large, shape ``(columns,)``.
        steps: for each step, which is a column with all after it, the flips whose largest statistic is.
        critical: for each step the ``keep``-th largest of its maxima; infinite if ``keep`` is 0.
        about_means: the same for the differences of all columns about their means.
    """

    alone: FloatArray
    steps: FloatArray
    critical: FloatArray
    about_means: float


def _flip(columns: _Columns, *, permutations: int, seed: int, keep: int) -> _Flips:
    n, width = columns.scaled.shape
    threshold = (columns.observed - _TIE)[:, np.newaxis]
    alone, steps = np.zeros(width), np.zeros(width)
    maxima, centred = _Largest(keep), _Largest(keep)
    for signs in sign_flips(n, permutations, seed, columns=width):
        signed = (signs @ columns.scaled).T.copy()
        about_means = signed * columns.growth[:, np.newaxis]
        about_means -= columns.shift[:, np.newaxis] * signs.sum(axis=1)
        centred.add(np.abs(about_means, out=about_means).max(axis=0, keepdims=True))
        statistics = np.abs(signed, out=signed)
        alone += (statistics >= threshold).sum(axis=1)
        np.maximum.accumulate(statistics[::-1], axis=0, out=statistics[::-1])
        steps += (statistics >= threshold).sum(axis=1)
        maxima.add(statistics)
    if keep == 0:
        return _Flips(alone, steps, np.full(width, np.inf), np.inf)
    return _Flips(alone, steps, maxima.smallest(), float(centred.smallest()[0]))


class _Largest:
    """Keeps the largest values of each row of a matrix that arrives in blocks of columns.

    Args:
        keep: how many.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._blocks: list[FloatArray] = []

    def add(self, values: FloatArray) -> None:
        """Add a block, shape ``(rows, any)``."""
        self._blocks.append(values)
        # Sorting out at twice the number kept costs each value a constant for blocks of any size.
        if sum(block.shape[1] for block in self._blocks) > 2 * self._keep:
            self._blocks = [self._kept()]

    def smallest(self) -> FloatArray:
        """Return the smallest value kept of each row, shape ``(rows,)``."""
        return np.asarray(self._kept().min(axis=1), dtype=np.float64)

    def _kept(self) -> FloatArray:
        values: FloatArray = np.concatenate(self._blocks, axis=1)
        drop = values.shape[1] - self._keep
        return np.partition(values, drop, axis=1)[:, drop:].copy() if 0 < drop < values.shape[1] else values


def _critical_values(observed: FloatArray, flips: _Flips, real: BoolArray) -> FloatArray:
    """Return the critical value of each column's interval, in descending order of the statistics.

    The rows found by one critical value are a step of Romano and Wolf's form of the procedure, which finds what
    Westfall and Young's finds: the next critical value is that of the columns which were not found.
    """
    band = max(float(flips.critical[0]), flips.about_means)
    critical = np.full(len(observed), band)
    start, found = 0, int(real.sum())
    while start < found:
        step = flips.critical[start]
        end = int((observed - _TIE > step).sum())
        later = np.arange(start, end)
        critical[later[observed[later] - _TIE <= band]] = step
        start = end
    return critical


def _as_t(critical: FloatArray, n: int) -> FloatArray:
    """Return critical values of the cosine as those of the t statistic; infinite where no statistic can exceed them."""
    bounded = critical < 1.0 - _TIE
    cosine = np.where(bounded, critical, 0.0)
    t = np.sqrt(n - 1) * cosine / np.sqrt(1.0 - cosine**2)
    return np.asarray(np.where(bounded, t, np.inf), dtype=np.float64)


def _ends(means: FloatArray, half: FloatArray, errors: FloatArray, real: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return both ends of the intervals; a tie, where an end is zero but for a rounding, goes to the test's side."""
    width = np.where(np.isfinite(half), half, 0.0) * errors
    low, high = means - width, means + width
    least = np.nextafter(0.0, 1.0)
    low = np.where(real & (means > 0), np.maximum(low, least), np.where(real, low, np.minimum(low, 0.0)))
    high = np.where(real & (means < 0), np.minimum(high, -least), np.where(real, high, np.maximum(high, 0.0)))
    return low, high
