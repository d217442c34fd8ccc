"""Puts systems that were scored under one protocol on the same dialogues side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from summtune.base import numbers
from summtune.base.errors import ComparisonError
from summtune.evaluator.diagnostics import unread
from summtune.evaluator.diagnostics.checks import warnings_beside
from summtune.evaluator.identical import identical_outputs
from summtune.evaluator.identical import warnings as identical_warnings
from summtune.evaluator.resampling import estimate_means, holm, paired_p_values
from summtune.evaluator.systems import FinishedSystem, ScoredSystem, read_scores
from summtune.evaluator.verdict import verdict
from summtune.recipe.sections import Tokenizer

FloatArray = npt.NDArray[np.float64]

PERMUTATIONS = 100_000
"""Sign flips behind each p-value. The smallest that can result, 1/100,001, stays small when Holm multiplies it."""


def compare(systems: Sequence[FinishedSystem], baseline: str | None) -> dict[str, Any]:
    """Return ``comparison.json``: every system's scores, and the paired difference of every two.

    A difference is ``a`` minus ``b``, with the baseline as ``b`` where it is one of the two and else the system that
    was named first. Its interval is the paired bootstrap's, under the systems' own settings, its ``p_value`` the paired
    permutation test's, and ``p_adjusted`` that value with Holm's correction for all rows of the table
    (``summtune.evaluator.resampling``).

    Args:
        systems: two or more, in the order in which they are shown.
        baseline: the name of the system that the others are measured against, or None.

    Raises:
        ComparisonError: fewer than two systems, a doubled name, an unknown baseline, different protocols or dialogues.
        RunDirectoryError: a system's scores are missing or do not fit together.
    """
    _check_names(systems, baseline)
    scored = [read_scores(system) for system in systems]
    for other in scored[1:]:
        _check_comparable(scored[0], other)
    protocol = scored[0].metrics["protocol"]
    checks = {"identical_outputs": identical_outputs(list(_pairs(scored, baseline)))}
    if any(map(numbers.is_fraction, scored[0].metrics["metrics"])):
        # Of the predictions file and not of metrics.json: an older summtune did not ask.
        checks[unread.NAME] = unread.unread_letters(scored[0].references.items(), _tokenizer(protocol))
    comparison: dict[str, Any] = {
        "protocol": protocol | {"permutations": PERMUTATIONS, "correction": "holm"},
        "n": scored[0].metrics["n"],
        "baseline": baseline,
        "systems": [each.to_json() for each in scored],
        "floor": _anchor("floor", scored),
        "ceiling": _anchor("ceiling", scored),
        "differences": _differences(scored, baseline, protocol["bootstrap"]),
        "diagnostics": {"checks": checks},
        "warnings": list(_warnings(scored, baseline, checks)),
    }
    comparison["verdict"] = verdict(comparison)
    return comparison


def _check_names(systems: Sequence[FinishedSystem], baseline: str | None) -> None:
    names = [system.name for system in systems]
    if len(names) < 2:
        raise ComparisonError(
            f"a comparison needs two systems (got {len(names)}: {', '.join(names)}); name another run"
        )
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        places = " and ".join(str(system.run_dir) for system in systems if system.name == doubled)
        raise ComparisonError(f"two systems have one name (got {doubled!r} for {places}); rename one")
    if baseline is not None and baseline not in names:
        raise ComparisonError(f"the baseline is none of the systems (got {baseline!r}); use one of {', '.join(names)}")


def _check_comparable(first: ScoredSystem, other: ScoredSystem) -> None:
    ours, theirs = (_flat_protocol(each.metrics["protocol"]) for each in (first, other))
    our_extra, their_extra = _extra_protocols(first, other)
    ours, theirs = ours | our_extra, theirs | their_extra
    for field in sorted(ours.keys() | theirs.keys()):
        if ours.get(field) != theirs.get(field):
            raise ComparisonError(
                f"{first.system.name} and {other.system.name} were scored under different protocols (got {field} "
                f"{ours.get(field)!r} and {theirs.get(field)!r}); score both with the same evaluation settings"
            )
    for field in ("n", "ids_sha256", "dialogues_sha256"):
        values = first.metrics[field], other.metrics[field]
        if values[0] != values[1] and None not in values:
            raise ComparisonError(
                f"{first.system.name} and {other.system.name} were scored on different dialogues or references (got "
                f"{field} {values[0]} and {values[1]}{_foreign_ids(first, other)}); "
                "give both the same test_datasets"
            )
    if not first.metrics["metrics"].keys() & other.metrics["metrics"].keys():
        raise ComparisonError(
            f"{first.system.name} and {other.system.name} have no metric in common (got "
            f"{', '.join(first.metrics['metrics'])} and {', '.join(other.metrics['metrics'])}); score both with one"
        )


def _flat_protocol(protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the protocol with dotted keys."""
    flat = {f"bootstrap.{key}": value for key, value in protocol["bootstrap"].items()}
    flat["tokenizer"] = _tokenizer(protocol)
    return flat | {key: value for key, value in protocol.items() if key not in ("bootstrap", "extra_metrics")}


def _extra_protocols(first: ScoredSystem, other: ScoredSystem) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how each system's metrics of the evaluate library were made, of those that both have."""
    ours, theirs = (each.metrics["protocol"].get("extra_metrics", {}) for each in (first, other))
    both = ours.keys() & theirs.keys()
    keys = ("implementation", "version", "references", "script", "arguments", "details.hashcode", "details.signature")
    flat = [{f"{name}.{key}": _made(each[name], key) for name in both for key in keys} for each in (ours, theirs)]
    return flat[0], flat[1]


def _made(protocol: dict[str, Any], key: str) -> Any:
    """Return how a metric was made; what it says of itself (BERTScore's hash code) names versions that we do not."""
    part, _, rest = key.partition(".")
    value = protocol.get(part)
    return (value or {}).get(rest) if rest else value


def _foreign_ids(first: ScoredSystem, other: ScoredSystem) -> str:
    """Return a few ids that only one of the two has, to find the cause by."""
    ours, theirs = (set(next(iter(each.per_example.values()), {})) for each in (first, other))
    only = [
        f"{name} alone has {sorted(ids)[0]!r}"
        for name, ids in ((first.system.name, ours - theirs), (other.system.name, theirs - ours))
        if ids
    ]
    return "; " + ", ".join(only) if only else ""


def _anchor(which: str, scored: Sequence[ScoredSystem]) -> dict[str, Any] | None:
    """Return the floor or ceiling, which is that of the dialogues and so of every system that knows it."""
    return next((each.metrics[which] for each in scored if each.metrics[which] is not None), None)


def _pairs(scored: Sequence[ScoredSystem], baseline: str | None) -> Iterator[tuple[ScoredSystem, ScoredSystem]]:
    """Yield every two systems, the baseline (else the one named first) second."""
    for first, second in itertools.combinations(scored, 2):
        yield (first, second) if second.system.name == baseline else (second, first)


def _differences(
    scored: Sequence[ScoredSystem], baseline: str | None, bootstrap: dict[str, Any]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    columns: list[FloatArray] = []
    for a, b in _pairs(scored, baseline):
        for metric in (name for name in a.per_example if name in b.per_example):
            rows.append({"a": a.system.name, "b": b.system.name, "metric": metric})
            ids = sorted(a.per_example[metric])  # those of every system, which was checked
            columns.append(np.array([a.per_example[metric][id_] - b.per_example[metric][id_] for id_ in ids]))
    if not rows:
        return rows
    matrix = np.column_stack(columns)
    estimates = estimate_means(matrix, **bootstrap)
    p_values = paired_p_values(matrix, permutations=PERMUTATIONS, seed=bootstrap["seed"])
    for row, estimate, p_value, adjusted in zip(rows, estimates, p_values, holm(p_values), strict=True):
        row |= {"difference": estimate.value, "ci_low": estimate.ci_low, "ci_high": estimate.ci_high}
        row |= {"p_value": float(p_value), "p_adjusted": float(adjusted)}
    return rows


def _tokenizer(protocol: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of ROUGE; an older summtune had only rouge_score's."""
    tokenizer: Tokenizer = protocol.get("tokenizer", "rouge")
    return tokenizer


def _warnings(scored: Sequence[ScoredSystem], baseline: str | None, checks: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield from unread.warnings(checks.get(unread.NAME))
    yield from warnings_beside({each.system.name: each.metrics["diagnostics"]["checks"] for each in scored})
    first = next(iter(scored[0].metrics["metrics"]))
    if not (numbers.is_fraction(first) and unread.draws_no_verdict(checks.get(unread.NAME))):
        yield from _no_better_than_the_floor(scored)
    trained = [each.system.name for each in scored if each.system.kind == "train"]
    yield from identical_warnings(
        checks["identical_outputs"], {name: baseline for name in trained if baseline is not None}
    )
    names = list(dict.fromkeys(name for each in scored for name in each.metrics["metrics"]))
    for name in names:
        without = [each.system.name for each in scored if name not in each.metrics["metrics"]]
        if without:
            yield f"{name} was not computed for {', '.join(without)}, so it does not compare every system."


def _no_better_than_the_floor(scored: Sequence[ScoredSystem]) -> Iterator[str]:
    floor = _anchor("floor", scored)
    name = next(iter(scored[0].metrics["metrics"]))
    if floor is None or name not in floor["metrics"] or numbers.is_lower_better(name):
        return
    lowest = floor["metrics"][name]["value"]
    found = {each.system.name: each.metrics["metrics"].get(name) for each in scored}
    values = {system: estimate["value"] for system, estimate in found.items() if estimate is not None}
    below = ", ".join(f"{system} {numbers.score(name, value)}" for system, value in values.items() if value <= lowest)
    if below:
        unit = numbers.metric_title(name)
        yield f"No higher than {floor['name']}, which scores {numbers.score(name, lowest)} {unit}: {below}."
