"""Scores the predictions of one system: the evaluate stage."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from summtune.errors import DataError
from summtune.evaluator import rouge
from summtune.evaluator.diagnostics import diagnose
from summtune.evaluator.extra_metrics import score_extra
from summtune.evaluator.resampling import Estimate, estimate_means
from summtune.files import write_json, write_jsonl
from summtune.recipe import EvaluationSettings
from summtune.records import Prediction

FloatArray = npt.NDArray[np.float64]

METRICS_FILE = "metrics.json"
PER_EXAMPLE_FILE = "per_example.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """The scores of one system, and all that is needed to put them beside another's.

    Args:
        protocol: how the scores were made; systems are compared under equal protocols only.
        ids: the dialogues, in the order of the predictions.
        metrics: the mean over dialogues with its interval; ROUGE as fractions from 0 to 1, others on their own scale.
        per_example: by metric one score a dialogue, shape ``(n,)``; metrics of the whole corpus are missing here.
        ids_sha256: hash of all ids with their references, whatever the order: what the systems were scored on.
        outputs_sha256: hash of all ids with their predictions: equal for two systems that wrote the same.
        diagnostics: see ``summtune.evaluator.diagnostics.diagnose``.
    """

    protocol: dict[str, Any]
    ids: tuple[str, ...]
    metrics: dict[str, Estimate]
    per_example: dict[str, FloatArray]
    ids_sha256: str
    outputs_sha256: str
    diagnostics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the object as it stands in ``metrics.json``."""
        return {
            "protocol": self.protocol,
            "n": len(self.ids),
            "metrics": {name: asdict(estimate) for name, estimate in self.metrics.items()},
            "per_example": PER_EXAMPLE_FILE,
            "ids_sha256": self.ids_sha256,
            "outputs_sha256": self.outputs_sha256,
            "diagnostics": self.diagnostics,
        }


def evaluate(
    predictions: Sequence[Prediction],
    settings: EvaluationSettings,
    seed: int,
    *,
    leakage: Mapping[str, Mapping[str, Any]] | None = None,
    weights: Mapping[str, int | None] | None = None,
) -> Evaluation:
    """Return the scores of ``predictions`` under the protocol that ``settings`` describe.

    Args:
        predictions: one a dialogue, each with its references.
        settings: the recipe's ``evaluation`` section.
        seed: of the bootstrap.
        leakage: ``data.leakage`` of the plan, for the diagnostics.
        weights: ``unchanged_tensors`` and ``compared_tensors`` of ``training.json``, for the diagnostics.

    Raises:
        DataError: there is no prediction, an id comes twice, or a dialogue has no reference.
        InputError: a metric is unknown or cannot be loaded.
        StageError: a metric was loaded and failed.
    """
    _check(predictions)
    texts = [prediction.prediction for prediction in predictions]
    references = [prediction.references for prediction in predictions]
    rouge_names = [name for name in settings.metrics if rouge.is_rouge(name)]
    other_names = [name for name in settings.metrics if name not in rouge_names]
    per_example = rouge.score_rouge(
        texts, references, rouge_names, use_stemmer=settings.use_stemmer, aggregate=settings.references
    )
    extra = score_extra(texts, references, other_names, aggregate=settings.references)
    per_example |= extra.per_example
    protocol = _protocol(settings, seed)
    if extra.protocol:
        protocol["extra_metrics"] = extra.protocol
    return Evaluation(
        protocol=protocol,
        ids=tuple(prediction.id for prediction in predictions),
        metrics=_estimates(per_example, settings, seed) | {name: Estimate(v) for name, v in extra.scalars.items()},
        per_example=per_example,
        ids_sha256=_fingerprint([p.id, *p.references] for p in predictions),
        outputs_sha256=_fingerprint([p.id, p.prediction] for p in predictions),
        diagnostics=diagnose(predictions, leakage=leakage, weights=weights),
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``per_example.jsonl`` and then ``metrics.json``, which says that the evaluation is complete."""
    columns = evaluation.per_example
    rows = (
        {"id": id_} | {name: float(scores[row]) for name, scores in columns.items()}
        for row, id_ in enumerate(evaluation.ids)
    )
    write_jsonl(folder / PER_EXAMPLE_FILE, rows)
    write_json(folder / METRICS_FILE, evaluation.to_json())


def _check(predictions: Sequence[Prediction]) -> None:
    if not predictions:
        raise DataError("there is nothing to score (got 0 predictions); check that the predict stage wrote some")
    doubled = [id_ for id_, count in Counter(p.id for p in predictions).items() if count > 1]
    if doubled:
        raise DataError(
            f"an id stands for several predictions (got {doubled[0]!r} more than once, {len(doubled)} such ids); "
            "give each dialogue one prediction"
        )
    for prediction in predictions:
        if not prediction.references or not all(text.strip() for text in prediction.references):
            raise DataError(
                f"a reference is missing or empty (got {list(prediction.references)!r} for id {prediction.id!r}); "
                "give each dialogue at least one summary, and no empty ones"
            )


def _protocol(settings: EvaluationSettings, seed: int) -> dict[str, Any]:
    return {
        "implementation": rouge.IMPLEMENTATION,
        "version": rouge.implementation_version(),
        "stemmer": settings.use_stemmer,
        "sentence_splitting": rouge.SENTENCE_SPLITTING,
        "references": settings.references,
        "bootstrap": {"samples": settings.bootstrap_samples, "seed": seed, "confidence": settings.confidence},
    }


def _estimates(per_example: dict[str, FloatArray], settings: EvaluationSettings, seed: int) -> dict[str, Estimate]:
    if not per_example:
        return {}
    estimates = estimate_means(
        np.column_stack(list(per_example.values())),
        samples=settings.bootstrap_samples,
        confidence=settings.confidence,
        seed=seed,
    )
    return dict(zip(per_example, estimates, strict=True))


def _fingerprint(rows: Iterable[list[str]]) -> str:
    """Return a hash of the rows in whatever order; JSON keeps ``["a", "bc"]`` apart from ``["ab", "c"]``."""
    return hashlib.sha256("\n".join(sorted(json.dumps(row) for row in rows)).encode()).hexdigest()
