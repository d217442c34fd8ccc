"""Computes metrics of the evaluate library in a process of its own, which `summtune.base.start` starts.

Started by ``summtune.evaluator.extra_metrics`` and imported by nobody: ``import evaluate`` costs seconds, and a
metric's script is other people's code that must not run in the command line's process. The request and the answer are
JSON files.
"""

from __future__ import annotations

import inspect
import math
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from summtune.base.files import read_json, write_json
from summtune.base.hints import hint

_FEW_PAIRS = 16
"""Up to so many pairs, a list may be as long as the pairs by chance (BLEU gives four precisions); it is tried out."""


def main(request_path: Path, answer_path: Path) -> None:
    """Write the answer to a request: ``{"results": [...]}``, or ``{"error": {"step", "metric", "message"}}``.

    The request has ``metrics`` (``source``, ``name`` and ``arguments`` of each) and ``sets`` (``predictions`` and
    ``references``). There is a list of results a metric, with one a set: ``per_pair`` (lists with one score for every
    pair of prediction and reference), ``scalars`` and ``other`` (whatever else the metric returned), each keyed as the
    metric keys it.
    """
    request = read_json(request_path)
    results = []
    for wanted in request["metrics"]:
        step = "load"
        try:
            with tempfile.TemporaryDirectory() as cache:
                metric = _load(wanted["source"], cache)
                step = "arguments"
                _check_arguments(metric, wanted["arguments"])
                step = "compute"
                results.append([_compute(metric, wanted["arguments"], **one) for one in request["sets"]])
        except Exception as error:
            message = str(error) if step == "arguments" else f"{type(error).__name__}: {error}"
            write_json(answer_path, {"error": {"step": step, "metric": wanted, "message": message}})
            return
    write_json(answer_path, {"results": results})


def _load(source: str, cache: str) -> Any:
    import evaluate

    # The metric keeps what it is given in files; a cache of its own keeps two runs out of each other's way.
    return evaluate.load(source, cache_dir=cache)


def _check_arguments(metric: Any, arguments: dict[str, Any]) -> None:
    """Raise TypeError where the metric's computation has no argument of such a name."""
    parameters = inspect.signature(metric._compute).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    known = [one.name for one in parameters if one.name not in ("predictions", "references")]
    for name in arguments:
        if name not in known:
            raise TypeError(f"{name!r}{hint(name, known)}; its arguments: {', '.join(known) or 'none'}")


def _compute(
    metric: Any, arguments: dict[str, Any], predictions: list[str], references: list[list[str]]
) -> dict[str, Any]:
    """Return the scores of every (prediction, reference) pair, and of the whole where the metric gives only that.

    A metric of the whole corpus gets all references of a dialogue at once if it takes lists; its result over pairs
    would not be what its authors define.
    """
    takes_lists = _takes_lists(metric)
    pairs = [(text, reference) for text, several in zip(predictions, references, strict=True) for reference in several]

    def compute(some: list[tuple[str, str]]) -> dict[str, Any]:
        found: dict[str, Any] = metric.compute(
            predictions=[text for text, _ in some],
            references=[[reference] if takes_lists else reference for _, reference in some],
            **arguments,
        )
        return found

    answer = _sort(compute(pairs), len(pairs))
    if answer["per_pair"] and len(pairs) <= _FEW_PAIRS:
        longer = _sort(compute([*pairs, pairs[0]]), len(pairs) + 1)["per_pair"]
        for key in answer["per_pair"].keys() - longer.keys():
            answer["other"][key] = repr(answer["per_pair"].pop(key))
    answer["references"] = "each"
    if answer["scalars"] and takes_lists and len(pairs) > len(predictions):
        whole = metric.compute(predictions=predictions, references=references, **arguments)
        answer["scalars"] = _sort(whole, len(pairs))["scalars"]
        answer["references"] = "all at once"
    return answer


def _takes_lists(metric: Any) -> bool:
    """Return whether the metric accepts a list of references for each prediction."""
    features = metric.features if isinstance(metric.features, list) else [metric.features]
    return any(type(each["references"]).__name__ != "Value" for each in features)


def _sort(result: dict[str, Any], pairs: int) -> dict[str, Any]:
    sorted_: dict[str, Any] = {"per_pair": {}, "scalars": {}, "other": {}}
    for key, value in result.items():
        plain = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(plain, (list, tuple)) and len(plain) == pairs and all(map(_is_number, plain)):
            sorted_["per_pair"][key] = [_finite(key, score) for score in plain]
        elif _is_number(plain):
            sorted_["scalars"][key] = _finite(key, plain)
        else:
            sorted_["other"][key] = textwrap.shorten(repr(plain), 200)
    return sorted_


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__")


def _finite(key: str, value: Any) -> float:
    """Return the score, if it is one: a mean that holds a NaN would say nothing about any dialogue."""
    score = float(value)
    if not math.isfinite(score):
        raise ValueError(f"the metric gave no finite number for {key} (got {score})")
    return score


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
