"""Compares systems that were scored under one protocol on the same dialogues."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from summtune.base import numbers
from summtune.base.errors import ComparisonError
from summtune.evaluator.diagnostics import unread
from summtune.evaluator.diagnostics.checks import joint_warnings
from summtune.evaluator.identical import identical_outputs
from summtune.evaluator.identical import warnings as identical_warnings
from summtune.evaluator.simultaneous import compare_with_zero
from summtune.evaluator.systems import FinishedSystem, ScoredSystem, read_scores
from summtune.evaluator.verdict import verdict
from summtune.runs.comparison import (
    Comparison,
    ComparisonChecks,
    ComparisonDiagnostics,
    ComparisonProtocol,
    Difference,
)
from summtune.runs.metrics import Anchor, Bootstrap, ExtraMetric, Protocol

FloatArray = npt.NDArray[np.float64]

PERMUTATIONS = 100_000
"""Sign flips behind p-values and intervals. At 95 %, about 5,000 of them decide how wide an interval is."""


def compare(systems: Sequence[FinishedSystem], baseline: str | None) -> Comparison:
    """Return what ``comparison.json`` holds: every system's scores, and the paired difference of every two.

    A difference is ``a`` minus ``b``; ``b`` is the baseline if it is one of the two, otherwise the system listed first.
    Its ``p_value`` is that of the paired permutation test. Its interval and ``p_adjusted`` take all rows of the table
    into account, and agree (``summtune.evaluator.simultaneous``).

    Args:
        systems: two or more, in the order in which they are shown.
        baseline: the name of the system that the others are compared with, or None.

    Raises:
        ComparisonError: fewer than two systems, a duplicate name, an unknown baseline, different protocols or
            dialogues.
        RunDirectoryError: a system's scores are missing or do not fit together.
    """
    _check_names(systems, baseline)
    scored = [read_scores(system) for system in systems]
    for other in scored[1:]:
        _check_comparable(scored[0], other)
    first = scored[0].scores
    checks = _checks(scored, baseline)
    comparison = Comparison(
        protocol=_protocol(first.protocol),
        n=first.n,
        baseline=baseline,
        systems=tuple(each.compared() for each in scored),
        floor=_floor(scored),
        ceiling=next((each.scores.ceiling for each in scored if each.scores.ceiling is not None), None),
        differences=_differences(scored, baseline, first.protocol.bootstrap),
        diagnostics=ComparisonDiagnostics(checks=checks),
        warnings=tuple(_warnings(scored, baseline, checks)),
        verdict=(),
    )
    return comparison.model_copy(update={"verdict": verdict(comparison)})


def _protocol(scores: Protocol) -> ComparisonProtocol:
    """Return the protocol of the scores, which keeps the fields that it lacks, with that of the tests."""
    given = {name: value for name, value in scores if name in scores.model_fields_set}
    return ComparisonProtocol.model_validate(given | {"permutations": PERMUTATIONS, "correction": "max_t"})


def _checks(scored: Sequence[ScoredSystem], baseline: str | None) -> ComparisonChecks:
    checks = ComparisonChecks(identical_outputs=identical_outputs(list(_pairs(scored, baseline))))
    if not any(map(numbers.is_fraction, scored[0].scores.metrics)):
        return checks
    letters = unread.unread_letters(
        ((each.id, each.references) for each in scored[0].run.predictions), scored[0].scores.protocol.tokenizer
    )
    return checks.model_copy(update={"unread_letters": letters})


def _check_names(systems: Sequence[FinishedSystem], baseline: str | None) -> None:
    names = [system.name for system in systems]
    if len(names) < 2:
        raise ComparisonError(
            f"a comparison needs two systems (got {len(names)}: {numbers.listed(names)}); name another run"
        )
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        folders = " and ".join(str(system.run_dir) for system in systems if system.name == duplicate)
        raise ComparisonError(f"two systems have the same name (got {duplicate!r} for {folders}); rename one")
    if baseline is not None and baseline not in names:
        raise ComparisonError(
            f"the baseline is not one of the systems (got {baseline!r}); use one of {numbers.listed(names)}"
        )


def _check_comparable(first: ScoredSystem, other: ScoredSystem) -> None:
    ours, theirs = (_flat_protocol(each.scores.protocol) for each in (first, other))
    our_extra, their_extra = _extra_protocols(first.scores.protocol, other.scores.protocol)
    ours, theirs = ours | our_extra, theirs | their_extra
    for field in sorted(ours.keys() | theirs.keys()):
        if ours.get(field) != theirs.get(field):
            raise ComparisonError(
                f"{first.name} and {other.name} were scored under different protocols (got {field} "
                f"{ours.get(field)!r} and {theirs.get(field)!r}); score both with the same evaluation settings"
            )
    for field, values in {
        "n": (first.scores.n, other.scores.n),
        "ids_sha256": (first.scores.ids_sha256, other.scores.ids_sha256),
        "dialogues_sha256": (first.scores.dialogues_sha256, other.scores.dialogues_sha256),
    }.items():
        if values[0] != values[1] and None not in values:
            raise ComparisonError(
                f"{first.name} and {other.name} were scored on different dialogues or references (got "
                f"{field} {values[0]} and {values[1]}{_foreign_ids(first, other)}); "
                "give both the same test_datasets"
            )
    if not first.scores.metrics.keys() & other.scores.metrics.keys():
        raise ComparisonError(
            f"{first.name} and {other.name} have no metric in common (got "
            f"{', '.join(first.scores.metrics)} and {', '.join(other.scores.metrics)}); score both with one"
        )


def _flat_protocol(protocol: Protocol) -> dict[str, object]:
    """Return the protocol with dotted keys."""
    flat: dict[str, object] = {f"bootstrap.{key}": value for key, value in protocol.bootstrap}
    return flat | {key: value for key, value in protocol if key not in ("bootstrap", "extra_metrics")}


def _extra_protocols(first: Protocol, other: Protocol) -> tuple[dict[str, object], dict[str, object]]:
    """Return how each system computed the metrics of the evaluate library that both have."""
    ours, theirs = (each.extra_metrics for each in (first, other))
    both = ours.keys() & theirs.keys()
    flat = [
        {f"{name}.{key}": value for name in both for key, value in _how_made(each[name]).items()}
        for each in (ours, theirs)
    ]
    return flat[0], flat[1]


def _how_made(metric: ExtraMetric) -> dict[str, object]:
    """Return how a metric was computed; ``details`` (BERTScore's hash code) covers versions that we do not record."""
    made = {key: value for key, value in metric if key != "details"}
    return made | {f"details.{key}": metric.details.get(key) for key in ("hashcode", "signature")}


def _foreign_ids(first: ScoredSystem, other: ScoredSystem) -> str:
    """Return an id that only one of the two has, as a clue to the cause."""
    ours, theirs = (set(next(iter(each.per_example.values()), {})) for each in (first, other))
    only = [
        f"only {name} has {sorted(ids)[0]!r}"
        for name, ids in ((first.name, ours - theirs), (other.name, theirs - ours))
        if ids
    ]
    return "; " + ", ".join(only) if only else ""


def _floor(scored: Sequence[ScoredSystem]) -> Anchor | None:
    """Return the floor: a property of the dialogues, so that of any system that has it."""
    return next((each.scores.floor for each in scored if each.scores.floor is not None), None)


def _pairs(scored: Sequence[ScoredSystem], baseline: str | None) -> Iterator[tuple[ScoredSystem, ScoredSystem]]:
    """Yield every two systems, with the baseline (otherwise the one listed first) second."""
    for first, second in itertools.combinations(scored, 2):
        yield (first, second) if second.name == baseline else (second, first)


def _differences(scored: Sequence[ScoredSystem], baseline: str | None, bootstrap: Bootstrap) -> tuple[Difference, ...]:
    rows: list[tuple[str, str, str]] = []
    columns: list[FloatArray] = []
    for a, b in _pairs(scored, baseline):
        for metric in (name for name in a.per_example if name in b.per_example):
            rows.append((a.name, b.name, metric))
            ids = sorted(a.per_example[metric])  # the same for every system, as was checked
            columns.append(np.array([a.per_example[metric][id_] - b.per_example[metric][id_] for id_ in ids]))
    if not rows:
        return ()
    tested = compare_with_zero(
        np.column_stack(columns), permutations=PERMUTATIONS, confidence=bootstrap.confidence, seed=bootstrap.seed
    )
    return tuple(
        Difference(
            a=a,
            b=b,
            metric=metric,
            difference=each.value,
            ci_low=each.low,
            ci_high=each.high,
            p_value=each.p_value,
            p_adjusted=each.p_adjusted,
        )
        for (a, b, metric), each in zip(rows, tested, strict=True)
    )


def _warnings(scored: Sequence[ScoredSystem], baseline: str | None, checks: ComparisonChecks) -> Iterator[str]:
    yield from unread.warnings(checks.unread_letters)
    yield from joint_warnings({each.name: each.scores.diagnostics.checks for each in scored})
    first = next(iter(scored[0].scores.metrics))
    if not (numbers.is_fraction(first) and unread.draws_no_verdict(checks.unread_letters)):
        yield from _no_better_than_the_floor(scored)
    trained = [each.name for each in scored if each.run.facts.kind == "train"]
    yield from identical_warnings(
        checks.identical_outputs, {name: baseline for name in trained if baseline is not None}
    )
    names = list(dict.fromkeys(name for each in scored for name in each.scores.metrics))
    for name in names:
        without = [each.name for each in scored if name not in each.scores.metrics]
        if without:
            yield f"{name} was not computed for {numbers.listed(without)}, so it does not compare every system."


def _no_better_than_the_floor(scored: Sequence[ScoredSystem]) -> Iterator[str]:
    floor = _floor(scored)
    name = next(iter(scored[0].scores.metrics))
    if floor is None or name not in floor.metrics or numbers.is_lower_better(name):
        return
    lowest = floor.metrics[name].value
    found = {each.name: each.scores.metrics.get(name) for each in scored}
    values = {system: estimate.value for system, estimate in found.items() if estimate is not None}
    below = numbers.listed(
        f"{system} {numbers.score(name, value)}" for system, value in values.items() if value <= lowest
    )
    if below:
        unit = numbers.metric_title(name)
        yield f"No higher than {floor.name}, which scores {numbers.score(name, lowest)} {unit}: {below}."
