"""Computes metrics of the evaluate library in a separate process, which `summtune.base.start` starts.

``summtune.evaluator.extra_metrics`` starts it and no module imports it: ``import evaluate`` takes seconds, and a
metric's script is third-party code that must not run in the command's process. The request and the answer are JSON
files.
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
"""With at most this many pairs, a list may match their number by chance (BLEU has four precisions): it is tested."""


def main(request_path: Path, answer_path: Path) -> None:
    """Write the answer to a request: ``{"results": [...]}``, or ``{"error": {"step", "metric", "message"}}``.

    The request has ``metrics`` (``source``, ``name`` and ``arguments`` of each) and ``sets`` (``predictions`` and
    ``references``). There is a list of results per metric, with one result per set: ``per_pair`` (lists with one score
    per pair of prediction and reference), ``scalars`` and ``other`` (everything else that the metric returned), each
    with the metric's own keys.
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

    # The metric stores its inputs in files; a separate cache prevents two runs from interfering.
    return evaluate.load(source, cache_dir=cache)


def _check_arguments(metric: Any, arguments: dict[str, Any]) -> None:
    """Raise TypeError if the metric's computation lacks one of the arguments."""
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
    """Return the scores of every (prediction, reference) pair, or of the corpus if the metric returns only that.

    A metric of the whole corpus gets all references of a dialogue at once if it accepts lists, as its authors define
    it; a result over pairs would differ.
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
    """Return the score if it is finite: one NaN would make the mean over all dialogues meaningless."""
    score = float(value)
    if not math.isfinite(score):
        raise ValueError(f"the metric returned no finite number for {key} (got {score})")
    return score


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
