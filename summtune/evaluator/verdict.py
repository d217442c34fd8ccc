"""Says in sentences which system is better, and whether the difference is real."""

from __future__ import annotations

from typing import Any

from summtune.report import numbers


def verdict(comparison: dict[str, Any]) -> list[str]:
    """Return one sentence for each system against the baseline, on the comparison's first metric.

    Without a baseline, the best system is set against each of the others. Two systems count as different when the
    interval of their difference leaves out zero and the permutation test's p-value is below one minus the confidence.

    Args:
        comparison: what ``summtune.evaluator.comparison.compare`` returns.
    """
    if not comparison["differences"]:
        return []
    metric = comparison["differences"][0]["metric"]
    confidence = comparison["protocol"]["bootstrap"]["confidence"]
    pivot = comparison["baseline"] or _best(comparison, metric)
    rows = [row for row in comparison["differences"] if row["metric"] == metric and pivot in (row["a"], row["b"])]
    if comparison["baseline"] is None:
        rows = [row if row["a"] == pivot else _turned(row) for row in rows]
    return [_sentence(row, confidence) for row in rows]


def _best(comparison: dict[str, Any], metric: str) -> str:
    scored = [system for system in comparison["systems"] if metric in system["metrics"]]
    best: str = max(scored, key=lambda system: system["metrics"][metric]["value"])["name"]
    return best


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    """Return the difference seen from the other side."""
    turned = row | {"a": row["b"], "b": row["a"], "difference": -row["difference"]}
    if row["ci_low"] is not None:
        turned |= {"ci_low": -row["ci_high"], "ci_high": -row["ci_low"]}
    return turned


def _sentence(row: dict[str, Any], confidence: float) -> str:
    a, b, metric = row["a"], row["b"], row["metric"]
    if row["ci_low"] is None:
        return f"One dialogue cannot tell {a} from {b}."
    clear = row["p_value"] < 1 - confidence and not row["ci_low"] <= 0 <= row["ci_high"]
    unit = numbers.metric_title(metric)
    level = numbers.percent(confidence)
    if not clear:
        return (
            f"{a} is not distinguishable from {b}: {numbers.difference(metric, row['difference'])} {unit} "
            f"({level} interval {numbers.interval(metric, row['ci_low'], row['ci_high'])}, "
            f"{numbers.p_value(row['p_value'])})."
        )
    if row["difference"] > 0:
        won, low, high = "beats", row["ci_low"], row["ci_high"]
    else:
        won, low, high = "is worse than", -row["ci_high"], -row["ci_low"]
    return (
        f"{a} {won} {b} by {numbers.score(metric, abs(row['difference']))} {unit} "
        f"({level} interval {numbers.interval(metric, low, high)}, {numbers.p_value(row['p_value'])})."
    )
