"""Puts systems that were scored under one protocol on the same dialogues side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from summtune.errors import ComparisonError, RunDirectoryError
from summtune.evaluator.evaluation import METRICS_FILE
from summtune.evaluator.resampling import estimate_means, paired_p_values
from summtune.evaluator.verdict import verdict as verdict
from summtune.files import read_json, read_jsonl

FloatArray = npt.NDArray[np.float64]

PERMUTATIONS = 10_000
"""Sign flips behind each p-value; the smallest that can result is 1/10,001."""


@dataclass(frozen=True)
class System:
    """One row of a comparison.

    Args:
        name: how people know it, unique within a comparison.
        run_dir: its run directory.
        kind: ``prompt``, ``train``, or ``scored`` for outputs from elsewhere.
        trainable_parameters: parameters that training could change, 0 for a prompted model, None where unknown.
        total_parameters: all parameters, an adapter's included; None where unknown.
    """

    name: str
    run_dir: Path
    kind: str
    trainable_parameters: int | None
    total_parameters: int | None


@dataclass(frozen=True)
class _Scored:
    """A system with its scores; ``per_example`` maps a metric to scores by dialogue id."""

    system: System
    metrics: dict[str, Any]
    per_example: dict[str, dict[str, float]]


def read_system(name: str, run_dir: Path) -> System:
    """Return the system whose run is in ``run_dir``.

    Raises:
        RunDirectoryError: it holds no run, an unfinished one, or a comparison.
    """
    plan = _read(run_dir, "plan.json")
    if plan["kind"] not in ("prompt", "train", "scored"):
        raise RunDirectoryError(
            f"{run_dir} holds a run of kind {plan['kind']} (got it as system {name!r}); name prompt or train runs, or "
            "what `summtune evaluate --output-dir` wrote"
        )
    stats = _read(run_dir, "prediction_stats.json")
    return System(
        name=name,
        run_dir=run_dir,
        kind=plan["kind"],
        trainable_parameters=stats["trainable_parameters"],
        total_parameters=stats["total_parameters"],
    )


def compare(systems: Sequence[System], baseline: str | None) -> dict[str, Any]:
    """Return ``comparison.json``: every system's scores, and the paired difference of every two.

    A difference is ``a`` minus ``b``, with the baseline as ``b`` where it is one of the two and else the system that
    was named first. Its interval is the paired bootstrap's, under the systems' own settings, and its p-value the paired
    permutation test's (``summtune.evaluator.resampling``). Nothing is corrected for the number of comparisons.

    Args:
        systems: two or more, in the order in which they are shown.
        baseline: the name of the system that the others are measured against, or None.

    Raises:
        ComparisonError: fewer than two systems, a doubled name, an unknown baseline, different protocols or dialogues.
        RunDirectoryError: a system's scores are missing or do not fit together.
    """
    _check_names(systems, baseline)
    scored = [_read_scores(system) for system in systems]
    for other in scored[1:]:
        _check_comparable(scored[0], other)
    protocol = scored[0].metrics["protocol"]
    comparison: dict[str, Any] = {
        "protocol": protocol | {"permutations": PERMUTATIONS},
        "n": scored[0].metrics["n"],
        "baseline": baseline,
        "systems": [_system_row(each) for each in scored],
        "differences": _differences(scored, baseline, protocol["bootstrap"]),
        "warnings": list(_warnings(scored, baseline)),
    }
    comparison["verdict"] = verdict(comparison)
    return comparison


def _read(run_dir: Path, file: str) -> dict[str, Any]:
    path = run_dir / file
    if not path.is_file():
        raise RunDirectoryError(
            f"{run_dir} is not a finished run (got no {file}); give the `summtune run` that began it again: it goes on"
        )
    value: dict[str, Any] = read_json(path)
    return value


def _check_names(systems: Sequence[System], baseline: str | None) -> None:
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


def _read_scores(system: System) -> _Scored:
    metrics = _read(system.run_dir, METRICS_FILE)
    path = system.run_dir / metrics["per_example"]
    rows = {row.pop("id"): row for row in read_jsonl(path)} if path.is_file() else {}
    if len(rows) != metrics["n"]:
        raise RunDirectoryError(
            f"{path} does not fit {METRICS_FILE} (got scores of {len(rows)} dialogues instead of {metrics['n']}); "
            f"delete {METRICS_FILE} there and give the run's command again"
        )
    names = [name for name in metrics["metrics"] if name in next(iter(rows.values()))]
    return _Scored(system, metrics, {name: {id_: row[name] for id_, row in rows.items()} for name in names})


def _check_comparable(first: _Scored, other: _Scored) -> None:
    ours, theirs = (_flat_protocol(each.metrics["protocol"]) for each in (first, other))
    our_extra, their_extra = _extra_protocols(first, other)
    ours, theirs = ours | our_extra, theirs | their_extra
    for field in sorted(ours.keys() | theirs.keys()):
        if ours.get(field) != theirs.get(field):
            raise ComparisonError(
                f"{first.system.name} and {other.system.name} were scored under different protocols (got {field} "
                f"{ours.get(field)!r} and {theirs.get(field)!r}); score both with the same evaluation settings"
            )
    for field in ("n", "ids_sha256"):
        if first.metrics[field] != other.metrics[field]:
            raise ComparisonError(
                f"{first.system.name} and {other.system.name} were scored on different dialogues or references (got "
                f"{field} {first.metrics[field]} and {other.metrics[field]}{_foreign_ids(first, other)}); "
                "give both the same test_datasets"
            )
    if not first.metrics["metrics"].keys() & other.metrics["metrics"].keys():
        raise ComparisonError(
            f"{first.system.name} and {other.system.name} have no metric in common (got "
            f"{', '.join(first.metrics['metrics'])} and {', '.join(other.metrics['metrics'])}); score both with one"
        )


def _flat_protocol(protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the protocol with dotted keys, without the bootstrap's seed, which moves no score."""
    flat = {f"bootstrap.{key}": value for key, value in protocol["bootstrap"].items() if key != "seed"}
    return flat | {key: value for key, value in protocol.items() if key not in ("bootstrap", "extra_metrics")}


def _extra_protocols(first: _Scored, other: _Scored) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how each system's metrics of the evaluate library were made, of those that both have."""
    ours, theirs = (each.metrics["protocol"].get("extra_metrics", {}) for each in (first, other))
    both = ours.keys() & theirs.keys()
    keys = ("implementation", "version", "references", "script", "arguments")
    flat = [{f"{name}.{key}": each[name].get(key) for name in both for key in keys} for each in (ours, theirs)]
    return flat[0], flat[1]


def _foreign_ids(first: _Scored, other: _Scored) -> str:
    """Return a few ids that only one of the two has, to find the cause by."""
    ours, theirs = (set(next(iter(each.per_example.values()), {})) for each in (first, other))
    only = [
        f"{name} alone has {sorted(ids)[0]!r}"
        for name, ids in ((first.system.name, ours - theirs), (other.system.name, theirs - ours))
        if ids
    ]
    return "; " + ", ".join(only) if only else ""


def _system_row(each: _Scored) -> dict[str, Any]:
    return {
        "name": each.system.name,
        "run_dir": str(each.system.run_dir.resolve()),
        "kind": each.system.kind,
        "trainable_parameters": each.system.trainable_parameters,
        "total_parameters": each.system.total_parameters,
        "metrics": each.metrics["metrics"],
    }


def _pairs(scored: Sequence[_Scored], baseline: str | None) -> Iterator[tuple[_Scored, _Scored]]:
    """Yield every two systems, the baseline (else the one named first) second."""
    for first, second in itertools.combinations(scored, 2):
        yield (first, second) if second.system.name == baseline else (second, first)


def _differences(scored: Sequence[_Scored], baseline: str | None, bootstrap: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    columns: list[FloatArray] = []
    ids = sorted(next(iter(scored[0].per_example.values()), {}))
    for a, b in _pairs(scored, baseline):
        for metric in (name for name in a.per_example if name in b.per_example):
            rows.append({"a": a.system.name, "b": b.system.name, "metric": metric})
            columns.append(np.array([a.per_example[metric][id_] - b.per_example[metric][id_] for id_ in ids]))
    if not rows:
        return rows
    matrix = np.column_stack(columns)
    estimates = estimate_means(matrix, **bootstrap)
    p_values = paired_p_values(matrix, permutations=PERMUTATIONS, seed=bootstrap["seed"])
    for row, estimate, p_value in zip(rows, estimates, p_values, strict=True):
        row |= {"difference": estimate.value, "ci_low": estimate.ci_low, "ci_high": estimate.ci_high}
        row["p_value"] = float(p_value)
    return rows


def _warnings(scored: Sequence[_Scored], baseline: str | None) -> Iterator[str]:
    for each in scored:
        for sentence in each.metrics["diagnostics"]["warnings"]:
            yield f"{each.system.name}: {sentence}"
    for a, b in _pairs(scored, baseline):
        if a.metrics["outputs_sha256"] == b.metrics["outputs_sha256"]:
            hint = (
                "; its training may have changed nothing"
                if b.system.name == baseline and a.system.kind == "train"
                else ""
            )
            yield f"{a.system.name} wrote exactly what {b.system.name} wrote for every dialogue{hint}."
    names = list(dict.fromkeys(name for each in scored for name in each.metrics["metrics"]))
    for name in names:
        without = [each.system.name for each in scored if name not in each.metrics["metrics"]]
        if without:
            yield f"{name} was not computed for {', '.join(without)}, so it does not compare every system."
