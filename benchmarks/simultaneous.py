"""Simulates comparisons to measure how often their tests raise a false alarm, find what is there, and cover the truth.

    .venv/bin/python benchmarks/simultaneous.py [--experiments 2000] [--out benchmarks/results/simultaneous.json]

An experiment is a comparison of five systems on four metrics, 40 rows, over 200 dialogues (or over 40). Scores are
made up as those of ROUGE are: skewed, some dialogues are hard for all systems, and the metrics of a system go together.
Every row of the printed table is one truth about the systems; its columns are:

- **false alarms**: experiments in which a difference that does not exist is called real, by step-down max-T, by Holm's
  correction, and without correction. Holm's gets p-values of the t test, which are nearly those of endless flips:
  multiplied by 40, the smallest of 999 flips would be too coarse for it;
- **found**: of the differences that exist, those called real, by step-down max-T, by its first step alone, and by Holm;
- **all covered**: experiments in which every interval contains its true difference: the intervals of the comparison;
  all of them with the critical value of the first step; intervals of 95 % each, as before;
- **least**: the lowest coverage of a single row.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from summtune.base.files import write_json
from summtune.evaluator.simultaneous import compare_with_zero

FloatArray = npt.NDArray[np.float64]

SYSTEMS, METRICS, DIALOGUES = 5, 4, 200
CONFIDENCE = 0.95
PERMUTATIONS = 999


@dataclass(frozen=True)
class Truth:
    """How one experiment's scores are made.

    Args:
        title: of its row in the table.
        effects: how much better each system is, in the unit of the scores.
        dialogues: how many.
        skewed: whether systems differ in the shape of their scores though not in the mean.
        independent: 40 differences that have nothing in common, in place of those of five systems; half of them have
            the last effect.
    """

    title: str
    effects: tuple[float, ...]
    dialogues: int = DIALOGUES
    skewed: bool = False
    independent: bool = False


TRUTHS = (
    Truth("all systems are equal", (0.0,) * SYSTEMS),
    Truth("equal on average, with scores of other shapes", (0.0,) * SYSTEMS, skewed=True),
    Truth("all systems are equal, 40 dialogues", (0.0,) * SYSTEMS, dialogues=40),
    Truth("one is far worse, the others equal", (-0.2, 0.0, 0.0, 0.0, 0.0)),
    Truth("two are equal, the others far apart", (-0.4, -0.2, 0.2, 0.0, 0.0)),
    Truth("one is a little worse, the others equal", (-0.02, 0.0, 0.0, 0.0, 0.0)),
    Truth("one is far worse, the others a little apart", (-0.2, 0.0, 0.01, 0.02, 0.03)),
    Truth("all a little apart", (0.0, 0.012, 0.024, 0.036, 0.048)),
    Truth("40 independent differences, half of them real", (0.0, 0.03), independent=True),
)


def draw(truth: Truth, random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return differences, shape ``(dialogues, rows)``, and the true means of the rows."""
    n = truth.dialogues
    if truth.independent:
        rows = SYSTEMS * (SYSTEMS - 1) // 2 * METRICS
        means = np.repeat(truth.effects, rows // 2)
        return random.normal(means, 0.13, size=(n, rows)), means
    hard = random.beta(2.0, 5.0, size=(n, 1, 1))
    of_system = random.beta(2.0, 6.0, size=(n, SYSTEMS, 1)) - 0.25
    if truth.skewed:
        of_system *= np.array([1.0, -1.0, 1.0, -1.0, 0.3])[:, np.newaxis]
    of_metric = 0.3 * (random.beta(2.0, 6.0, size=(n, SYSTEMS, METRICS)) - 0.25)
    scores = hard + 0.5 * of_system + of_metric + np.array(truth.effects)[:, np.newaxis]
    pairs = list(itertools.combinations(range(SYSTEMS), 2))
    columns = [scores[:, a] - scores[:, b] for a, b in pairs]
    means = np.repeat([truth.effects[a] - truth.effects[b] for a, b in pairs], METRICS)
    return np.concatenate(columns, axis=1), means


def simulate(truth: Truth, experiments: int, seed: int) -> dict[str, float]:
    """Return the rates of one truth; a rate of nothing is not a number.

    Args:
        truth: how the scores are made.
        experiments: how many.
        seed: of the scores and the flips.
    """
    random = np.random.default_rng(seed)
    alarms, found, covered = np.zeros(3), np.zeros(3), np.zeros(3)
    of_row: FloatArray = np.zeros(1)
    for each in range(experiments):
        differences, means = draw(truth, random)
        rows = compare_with_zero(differences, permutations=PERMUTATIONS, confidence=CONFIDENCE, seed=seed + each)
        alone, adjusted = (np.array([getattr(row, name) for row in rows]) for name in ("p_value", "p_adjusted"))
        of_t = stats.ttest_1samp(differences, 0).pvalue
        ends = np.array([(row.low, row.high) for row in rows], dtype=np.float64)
        values, errors = differences.mean(axis=0), stats.sem(differences, axis=0)
        half = (ends[:, 1] - ends[:, 0]) / 2
        band = (half / errors).max() * errors  # no row has a larger critical value than the first step's
        single = stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * errors
        real = [p < 1 - CONFIDENCE for p in (adjusted, holm(of_t), alone)]
        alarms += [bool((each & (means == 0)).any()) for each in real]
        found += [each[means != 0].mean() if means.any() else np.nan for each in (real[0], abs(values) > band, real[1])]
        inside = [abs(values - means) <= width for width in (half, band, single)]
        covered += [bool(each.all()) for each in inside]
        of_row = of_row + inside[0]
    names = ("max_t", "holm", "uncorrected"), ("max_t", "first_step", "holm"), ("intervals", "first_step", "single")
    rates = {
        f"{what}.{name}": float(count) / experiments
        for what, counts, columns in zip(("alarms", "found", "covered"), (alarms, found, covered), names, strict=True)
        for name, count in zip(columns, counts, strict=True)
    }
    return rates | {"least": float(of_row.min()) / experiments}


def holm(p_values: FloatArray) -> FloatArray:
    """Return the p-values with Holm's correction (1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(p_values), 0, -1) * p_values[order]))
    return adjusted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    print("| truth | false alarms: max-T, Holm, none | found: max-T, first step, Holm | all covered | least |")
    print("| --- | ---: | ---: | ---: | ---: |")
    results, started = {}, time.perf_counter()
    for truth in TRUTHS:
        rates = simulate(truth, arguments.experiments, arguments.seed)
        results[truth.title] = {name: None if np.isnan(rate) else rate for name, rate in rates.items()}
        shown = {name: "–" if np.isnan(rate) else f"{100 * rate:.1f}" for name, rate in rates.items()}
        cells = (", ".join(shown[name] for name in shown if name.startswith(what)) for what in ("al", "fo", "co", "le"))
        print(f"| {truth.title} | {' | '.join(cells)} |", flush=True)
    if arguments.out is not None:
        made = {"experiments": arguments.experiments, "permutations": PERMUTATIONS, "seed": arguments.seed}
        write_json(arguments.out, made | {"seconds": time.perf_counter() - started, "rates": results})


if __name__ == "__main__":
    main()
