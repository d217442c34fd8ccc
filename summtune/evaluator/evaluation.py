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

from summtune.base import numbers
from summtune.base.errors import DataError
from summtune.base.files import write_json, write_jsonl
from summtune.evaluator import rouge
from summtune.evaluator.aggregation import by_dialogue, by_references
from summtune.evaluator.anchors import CEILING, FLOOR, TextSet, ceiling, floor
from summtune.evaluator.diagnostics import unread
from summtune.evaluator.diagnostics.diagnosis import diagnose
from summtune.evaluator.diagnostics.unread import draws_no_verdict
from summtune.evaluator.extra_metrics import score_extra
from summtune.evaluator.resampling import Estimate, estimate_means
from summtune.evaluator.sentences import splitting
from summtune.recipe.sections import EvaluationSettings
from summtune.runs.records import Prediction

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
        by_references: by ROUGE variant its mean under every aggregation, see ``aggregation.by_references``.
        floor: what the first three turns of each dialogue score; None where dialogues are not known.
        ceiling: what each reference scores against the others; None where no dialogue has two.
        per_example: by metric one score a dialogue, shape ``(n,)``; metrics of the whole corpus are missing here.
        ids_sha256: hash of all ids with their references, whatever the order: what the systems were scored on.
        dialogues_sha256: hash of all ids with their dialogues; None where dialogues are not known.
        outputs_sha256: hash of all ids with their predictions: equal for two systems that wrote the same.
        diagnostics: see ``summtune.evaluator.diagnostics.diagnosis.diagnose``.
    """

    protocol: dict[str, Any]
    ids: tuple[str, ...]
    metrics: dict[str, Estimate]
    by_references: dict[str, dict[str, Any]]
    floor: dict[str, Any] | None
    ceiling: dict[str, Any] | None
    per_example: dict[str, FloatArray]
    ids_sha256: str
    dialogues_sha256: str | None
    outputs_sha256: str
    diagnostics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the object as it stands in ``metrics.json``."""
        return {
            "protocol": self.protocol,
            "n": len(self.ids),
            "metrics": {name: asdict(estimate) for name, estimate in self.metrics.items()},
            "by_references": self.by_references,
            "floor": self.floor,
            "ceiling": self.ceiling,
            "per_example": PER_EXAMPLE_FILE,
            "ids_sha256": self.ids_sha256,
            "dialogues_sha256": self.dialogues_sha256,
            "outputs_sha256": self.outputs_sha256,
            "diagnostics": self.diagnostics,
        }


def evaluate(
    predictions: Sequence[Prediction],
    settings: EvaluationSettings,
    *,
    leakage: Mapping[str, Mapping[str, Any]] | None = None,
    weights: Mapping[str, int | None] | None = None,
) -> Evaluation:
    """Return the scores of ``predictions`` under the protocol that ``settings`` describe.

    Args:
        predictions: one a dialogue, each with its references.
        settings: the recipe's ``evaluation`` section.
        leakage: ``data.leakage`` of the plan, for the diagnostics.
        weights: ``unchanged_tensors`` and ``compared_tensors`` of ``training.json``, for the diagnostics.

    Raises:
        DataError: there is no prediction, an id comes twice, or a dialogue has no reference.
        InputError: a metric is unknown or cannot be loaded.
        StageError: a metric was loaded and failed.
    """
    _check(predictions)
    system = TextSet(
        tuple(prediction.prediction for prediction in predictions),
        tuple(prediction.references for prediction in predictions),
        (1,) * len(predictions),
    )
    sets = {"system": system, FLOOR: floor(predictions), CEILING: ceiling(predictions)}
    scored, extra_protocol = _score({name: each for name, each in sets.items() if each is not None}, settings)
    protocol = _protocol(settings)
    if extra_protocol:
        protocol["extra_metrics"] = extra_protocol
    whole = scored["system"]
    metrics, below = _estimates(whole, settings), _anchor(sets[FLOOR], FLOOR, scored, settings)
    tokenizer = settings.tokenizer if whole.by_references else None
    diagnostics = diagnose(predictions, tokenizer=tokenizer, leakage=leakage, weights=weights)
    if not (draws_no_verdict(diagnostics["checks"].get(unread.NAME)) and numbers.is_fraction(next(iter(metrics)))):
        diagnostics["warnings"] += _no_better_than(below, metrics)
    return Evaluation(
        protocol=protocol,
        ids=tuple(prediction.id for prediction in predictions),
        metrics=metrics,
        by_references=whole.by_references,
        floor=below,
        ceiling=_anchor(sets[CEILING], CEILING, scored, settings),
        per_example=whole.per_example,
        ids_sha256=_fingerprint([p.id, *p.references] for p in predictions),
        dialogues_sha256=_fingerprint([p.id, p.dialogue] for p in predictions) if sets[FLOOR] is not None else None,
        outputs_sha256=_fingerprint([p.id, p.prediction] for p in predictions),
        diagnostics=diagnostics,
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


@dataclass(frozen=True)
class _Scores:
    """What a set of texts scored: by metric one score a dialogue, or one number of the whole."""

    per_example: dict[str, FloatArray]
    scalars: dict[str, float]
    by_references: dict[str, dict[str, Any]]


def _score(sets: Mapping[str, TextSet], settings: EvaluationSettings) -> tuple[dict[str, _Scores], dict[str, Any]]:
    """Return the scores of each set, and how the metrics of the evaluate library were computed."""
    rouge_names = [name for name in settings.metrics if rouge.is_rouge(name)]
    other_names = [name for name in settings.metrics if name not in rouge_names]
    scored = {name: _score_rouge(each, rouge_names, settings) for name, each in sets.items()}
    others = score_extra(
        [(each.texts, each.references) for each in sets.values()],
        other_names,
        aggregate=settings.references,
        arguments=settings.metric_arguments,
    )
    for (name, each), extra in zip(sets.items(), others, strict=True):
        scored[name].scalars.update(extra.scalars)
        for metric, scores in extra.per_example.items():
            scored[name].per_example[metric] = by_dialogue(scores, each.texts_a_dialogue, "mean")
    return scored, others[0].protocol


def _score_rouge(texts: TextSet, names: Sequence[str], settings: EvaluationSettings) -> _Scores:
    pairs = rouge.score_pairs(
        texts.texts,
        texts.references,
        names,
        use_stemmer=settings.use_stemmer,
        split_sentences=settings.split_sentences,
        tokenizer=settings.tokenizer,
    )
    counts = [len(references) for references in texts.references]
    by_text = by_dialogue(pairs, counts, settings.references)
    by_id = by_dialogue(by_text, texts.texts_a_dialogue, "mean")
    return _Scores(
        {name: by_id[:, column].copy() for column, name in enumerate(names)},
        {},
        {name: by_references(pairs[:, column], counts) for column, name in enumerate(names)},
    )


def _protocol(settings: EvaluationSettings) -> dict[str, Any]:
    bootstrap = {"samples": settings.bootstrap_samples, "seed": settings.bootstrap_seed}
    return {
        "implementation": rouge.IMPLEMENTATION,
        "version": rouge.implementation_version(),
        "tokenizer": settings.tokenizer,
        "stemmer": settings.use_stemmer,
        "sentence_splitting": splitting(settings.split_sentences),
        "references": settings.references,
        "bootstrap": bootstrap | {"confidence": settings.confidence},
    }


def _estimates(scores: _Scores, settings: EvaluationSettings) -> dict[str, Estimate]:
    found = {name: Estimate(value) for name, value in scores.scalars.items()}
    if not scores.per_example:
        return found
    estimates = estimate_means(
        np.column_stack(list(scores.per_example.values())),
        samples=settings.bootstrap_samples,
        confidence=settings.confidence,
        seed=settings.bootstrap_seed,
    )
    return dict(zip(scores.per_example, estimates, strict=True)) | found


def _anchor(
    texts: TextSet | None, name: str, scored: Mapping[str, _Scores], settings: EvaluationSettings
) -> dict[str, Any] | None:
    """Return the floor or the ceiling as it stands in ``metrics.json``."""
    if texts is None:
        return None
    metrics = {metric: asdict(each) for metric, each in _estimates(scored[name], settings).items()}
    return {"name": name, "n": len(texts.texts_a_dialogue), "metrics": metrics}


def _no_better_than(floor: Mapping[str, Any] | None, metrics: Mapping[str, Estimate]) -> list[str]:
    """Return a sentence where the first metric is no higher than the floor's: then nothing was summarized."""
    name = next((name for name in metrics if floor is not None and name in floor["metrics"]), None)
    if floor is None or name is None or numbers.is_lower_better(name):
        return []
    ours, theirs = metrics[name].value, floor["metrics"][name]["value"]
    if ours > theirs:
        return []
    return [
        f"The predictions score no higher than the first three turns of each dialogue ({floor['name']}): "
        f"{numbers.score(name, ours)} against {numbers.score(name, theirs)} {numbers.metric_title(name)}."
    ]


def _fingerprint(rows: Iterable[list[str]]) -> str:
    """Return a hash of the rows in whatever order; JSON keeps ``["a", "bc"]`` apart from ``["ab", "c"]``."""
    return hashlib.sha256("\n".join(sorted(json.dumps(row) for row in rows)).encode()).hexdigest()
