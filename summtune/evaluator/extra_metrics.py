"""Scores predictions with metrics of the evaluate library, each computed in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from summtune.errors import InputError, StageError
from summtune.files import read_json, write_json

FloatArray = npt.NDArray[np.float64]


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
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    sources: Sequence[str],
    *,
    aggregate: Literal["mean", "max"],
) -> ExtraScores:
    """Return the scores of metrics that are not ROUGE.

    A metric that gives one score a pair is aggregated over a dialogue's references as ROUGE is; a metric of the whole
    corpus is taken as it comes, given all references at once where it accepts them.

    Args:
        predictions: ``n`` summaries.
        references: for each of them one or more summaries that people wrote.
        sources: names on the hub (``bertscore``), or folders that hold a metric's script.
        aggregate: mean or max over the references of one dialogue.

    Raises:
        InputError: a metric cannot be loaded, or two have one name.
        StageError: a metric was loaded and failed, or its process died.
    """
    if not sources:
        return ExtraScores({}, {}, {})
    names = [Path(source).name for source in sources]
    for source, name in zip(sources, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"two metrics are called {name} (got {source!r} and another); rename one of the folders")
    request = {
        "metrics": list(sources),
        "predictions": list(predictions),
        "references": [list(several) for several in references],
    }
    owners = np.repeat(np.arange(len(predictions)), [len(several) for several in references])
    scores = ExtraScores({}, {}, {})
    for name, result in zip(names, _compute_apart(request)["results"], strict=True):
        for key, values in result["per_pair"].items():
            scores.per_example[_metric_name(name, key)] = _by_dialogue(np.array(values), owners, aggregate)
        for key, value in result["scalars"].items():
            scores.scalars[_metric_name(name, key)] = value
        scores.protocol[name] = {
            "implementation": "evaluate",
            "version": version("evaluate"),
            "references": result["references"],
            "details": result["other"],
        }
    return scores


def _compute_apart(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of ``summtune.evaluator.hub_metrics``, run as a process."""
    with tempfile.TemporaryDirectory() as folder:
        request_path, answer_path = Path(folder, "request.json"), Path(folder, "answer.json")
        write_json(request_path, request)
        command = [sys.executable, "-m", "summtune.evaluator.hub_metrics", str(request_path), str(answer_path)]
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"},
            check=False,
        )
        if not answer_path.exists():
            last_lines = "\n".join(ended.stderr.decode(errors="replace").splitlines()[-5:])
            raise StageError(
                f"the process that computes {', '.join(request['metrics'])} died (got exit status "
                f"{ended.returncode}); its last words were:\n{last_lines}"
            )
        answer: dict[str, Any] = read_json(answer_path)
    if "error" in answer:
        raise _error(**answer["error"])
    return answer


def _error(step: str, metric: str, message: str) -> Exception:
    if step == "load":
        return InputError(
            f"metric {metric!r} cannot be loaded (got {message}); install what it asks for, or give the path of a "
            "local folder that holds the metric's script"
        )
    return StageError(
        f"metric {metric!r} failed on these predictions (got {message}); leave it out of evaluation.metrics"
    )


def _metric_name(name: str, key: str) -> str:
    return name if key == name else f"{name}.{key}"


def _by_dialogue(values: FloatArray, owners: npt.NDArray[np.intp], aggregate: Literal["mean", "max"]) -> FloatArray:
    """Return one score a dialogue, shape ``(n,)``, from one a pair; ``owners`` is each pair's dialogue, ascending."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    if aggregate == "max":
        return np.asarray(np.maximum.reduceat(values, starts), dtype=np.float64)
    return np.asarray(np.add.reduceat(values, starts) / np.bincount(owners), dtype=np.float64)
