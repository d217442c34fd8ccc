"""Scores predictions with metrics of the evaluate library, each computed in a process of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from summtune.base.errors import InputError, StageError
from summtune.base.files import read_json, write_json
from summtune.base.hashing import content_sha256
from summtune.base.places import is_local
from summtune.base.safe_python import python_command, safe_environment
from summtune.evaluator.aggregation import Aggregate, FloatArray, by_dialogue
from summtune.recipe.sections import metric_name

PredictionSet: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]
"""``n`` summaries, and for each of them one or more that it is scored against."""

_DEFAULTS: dict[str, dict[str, Any]] = {"bertscore": {"lang": "en"}}
"""What ``compute`` needs beyond predictions and references, for metrics that do not run without."""


@dataclass(frozen=True)
class ExtraScores:
    """What the metrics gave, on the metrics' own scales.

    Args:
        per_example: by metric name (``bertscore.f1``), one score a dialogue, shape ``(n,)``.
        scalars: by metric name, the one number of a metric that scores the corpus as a whole.
        protocol: by the metric's name in the recipe, how it was computed.
    """

    per_example: dict[str, FloatArray]
    scalars: dict[str, float]
    protocol: dict[str, dict[str, Any]]


def score_extra(
    sets: Sequence[PredictionSet],
    sources: Sequence[str],
    *,
    aggregate: Aggregate,
    arguments: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[ExtraScores]:
    """Return the scores of metrics that are not ROUGE, for each set of predictions.

    A metric that gives one score a pair is aggregated over a dialogue's references as ROUGE is; a metric of the whole
    corpus is taken as it comes, given all references at once where it accepts them. One process loads each metric once
    and scores every set with it.

    Args:
        sets: predictions with their references, none of them empty: a system's outputs, and what they are held against.
        sources: names on the hub (``bertscore``), or folders that hold a metric's script.
        aggregate: mean or max over the references of one dialogue.
        arguments: by metric name what its ``compute`` gets besides; absolute paths are of this machine.

    Raises:
        InputError: a metric cannot be loaded, does not take an argument, or two have one name.
        StageError: a metric was loaded and failed, or its process died.
    """
    if not sources:
        return [ExtraScores({}, {}, {}) for _ in sets]
    names = [metric_name(source) for source in sources]
    for source, name in zip(sources, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"two metrics are called {name} (got {source!r} and another); rename one of the folders")
    full = [_DEFAULTS.get(name, {}) | dict(arguments.get(name, {})) for name in names]
    request = {
        "metrics": [
            {"source": source, "name": name, "arguments": given}
            for source, name, given in zip(sources, names, full, strict=True)
        ],
        "sets": [
            {"predictions": list(texts), "references": [list(several) for several in references]}
            for texts, references in sets
        ],
    }
    by_metric = _compute_apart(request)["results"]
    made = [_made(source, given) for source, given in zip(sources, full, strict=True)]
    return [
        _scores(references, names, [results[at] for results in by_metric], made, aggregate)
        for at, (_, references) in enumerate(sets)
    ]


def _scores(
    references: Sequence[Sequence[str]],
    names: Sequence[str],
    results: Sequence[dict[str, Any]],
    made: Sequence[dict[str, Any]],
    aggregate: Aggregate,
) -> ExtraScores:
    """Return the scores of one set from what each metric gave for its pairs."""
    counts = [len(several) for several in references]
    scores = ExtraScores({}, {}, {})
    for name, result, how in zip(names, results, made, strict=True):
        for key, values in result["per_pair"].items():
            scores.per_example[_score_name(name, key)] = by_dialogue(np.array(values), counts, aggregate)
        for key, value in result["scalars"].items():
            scores.scalars[_score_name(name, key)] = value
        scores.protocol[name] = how | {"references": result["references"], "details": result["other"]}
    return scores


def _made(source: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a metric is computed, the same on every machine: a local script or model is known by its content."""
    script = {"script": _content(source)} if is_local(source) else {}
    return {
        "implementation": "evaluate",
        "version": version("evaluate"),
        **script,
        "arguments": {key: _content(value) for key, value in arguments.items()},
    }


def _content(value: Any) -> Any:
    """Return ``<name> (sha256 <16 hex digits>)`` of a local file or folder, and any other value as it is."""
    if not isinstance(value, str) or not is_local(value) or not Path(value).exists():
        return value
    return f"{Path(value).name} (sha256 {content_sha256(Path(value))[:16]})"


def _compute_apart(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of ``summtune.evaluator.hub_metrics``, run as a process."""
    with tempfile.TemporaryDirectory() as folder:
        request_path, answer_path = Path(folder, "request.json"), Path(folder, "answer.json")
        write_json(request_path, request)
        command = python_command("summtune.evaluator.hub_metrics", str(request_path), str(answer_path))
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=safe_environment() | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"},
            check=False,
        )
        if not answer_path.exists():
            sources = ", ".join(metric["source"] for metric in request["metrics"])
            last_lines = "\n".join(ended.stderr.decode(errors="replace").splitlines()[-5:])
            raise StageError(
                f"the process that computes {sources} died (got exit status {ended.returncode}); its last words were:\n"
                f"{last_lines}"
            )
        answer: dict[str, Any] = read_json(answer_path)
    if "error" in answer:
        raise _error(**answer["error"])
    return answer


def _error(step: str, metric: dict[str, Any], message: str) -> Exception:
    source, key = metric["source"], f"evaluation.metric_arguments.{metric['name']}"
    if step == "load":
        return InputError(
            f"metric {source!r} cannot be loaded (got {message}); install what it asks for, or give the path of a "
            "local folder that holds the metric's script"
        )
    if step == "arguments":
        return InputError(f"metric {source!r} does not take what it is given (got {message}); correct {key}")
    given = f" with the arguments {metric['arguments']}" if metric["arguments"] else ""
    advice = f"correct {key}, or leave it" if given else "leave it"
    return StageError(
        f"metric {source!r} failed on these predictions{given} (got {message}); {advice} out of evaluation.metrics"
    )


def _score_name(name: str, key: str) -> str:
    return name if key == name else f"{name}.{key}"
