"""Scores the predictions of one system: the evaluate stage."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from summtune.base import numbers
from summtune.base.errors import DataError
from summtune.base.files import write_json, write_jsonl
from summtune.evaluator import rouge
from summtune.evaluator.aggregation import by_dialogue, by_references
from summtune.evaluator.anchors import CEILING, FLOOR, TextSet, ceiling, floor
from summtune.evaluator.diagnostics.diagnosis import diagnose
from summtune.evaluator.diagnostics.unread import draws_no_verdict
from summtune.evaluator.extra_metrics import score_extra
from summtune.evaluator.resampling import estimate_means
from summtune.evaluator.sentences import splitting
from summtune.recipe.sections import EvaluationSettings
from summtune.runs.diagnostics import LeakedDialogues
from summtune.runs.metrics import (
    METRICS_FILE,
    PER_EXAMPLE_FILE,
    Anchor,
    Bootstrap,
    ByReferences,
    Estimate,
    ExtraMetric,
    Protocol,
    RunMetrics,
)
from summtune.runs.records import Prediction
from summtune.runs.statistics import Training

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """The scores of one system.

    Args:
        scores: what ``metrics.json`` holds.
        ids: of the dialogues, in the order of the predictions.
        per_example: by metric, one score per dialogue, shape ``(n,)``; without metrics of the whole corpus.
    """

    scores: RunMetrics
    ids: tuple[str, ...]
    per_example: dict[str, FloatArray]


def evaluate(
    predictions: Sequence[Prediction],
    settings: EvaluationSettings,
    *,
    leakage: Mapping[str, LeakedDialogues] | None = None,
    training: Training | None = None,
) -> Evaluation:
    """Return the scores of ``predictions`` under the protocol that ``settings`` describe.

    Args:
        predictions: one per dialogue, each with its references.
        settings: the recipe's ``evaluation`` section.
        leakage: by role the test dialogues that were found in its data, for the diagnostics.
        training: what the model's training reported, for the diagnostics; None without one.

    Raises:
        DataError: there is no prediction, an id is repeated, or a dialogue has no reference.
        InputError: a metric is unknown or cannot be loaded.
        StageError: a metric was loaded but failed.
    """
    _check(predictions)
    system = TextSet(
        tuple(prediction.prediction for prediction in predictions),
        tuple(prediction.references for prediction in predictions),
        (1,) * len(predictions),
    )
    sets = {"system": system, FLOOR: floor(predictions), CEILING: ceiling(predictions)}
    scored, extra_protocol = _score({name: each for name, each in sets.items() if each is not None}, settings)
    whole = scored["system"]
    metrics, below = _estimates(whole, settings), _anchor(sets[FLOOR], FLOOR, scored, settings)
    tokenizer = settings.tokenizer if whole.by_references else None
    diagnostics = diagnose(predictions, tokenizer=tokenizer, leakage=leakage, training=training)
    if not (draws_no_verdict(diagnostics.unread_letters) and numbers.is_fraction(next(iter(metrics)))):
        warnings = (*diagnostics.warnings, *_no_better_than(below, metrics))
        diagnostics = diagnostics.model_copy(update={"warnings": warnings})
    return Evaluation(
        RunMetrics(
            protocol=_protocol(settings, extra_protocol),
            n=len(predictions),
            metrics=metrics,
            by_references=whole.by_references,
            floor=below,
            ceiling=_anchor(sets[CEILING], CEILING, scored, settings),
            per_example=PER_EXAMPLE_FILE,
            ids_sha256=_fingerprint([p.id, *p.references] for p in predictions),
            dialogues_sha256=_fingerprint([p.id, p.dialogue] for p in predictions) if sets[FLOOR] is not None else None,
            outputs_sha256=_fingerprint([p.id, p.prediction] for p in predictions),
            diagnostics=diagnostics,
        ),
        ids=tuple(prediction.id for prediction in predictions),
        per_example=whole.per_example,
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``per_example.jsonl`` and then ``metrics.json``, which marks the evaluation as complete."""
    columns = evaluation.per_example
    rows = (
        {"id": id_} | {name: float(scores[row]) for name, scores in columns.items()}
        for row, id_ in enumerate(evaluation.ids)
    )
    write_jsonl(folder / PER_EXAMPLE_FILE, rows)
    write_json(folder / METRICS_FILE, evaluation.scores.to_json())


def _check(predictions: Sequence[Prediction]) -> None:
    if not predictions:
        raise DataError("there is nothing to score (got 0 predictions); check that the predict stage wrote some")
    repeated = [id_ for id_, count in Counter(p.id for p in predictions).items() if count > 1]
    if repeated:
        raise DataError(
            f"an id has several predictions (got {repeated[0]!r} more than once, {len(repeated)} such ids); "
            "give each dialogue one prediction"
        )
    for prediction in predictions:
        if not prediction.references or not all(text.strip() for text in prediction.references):
            raise DataError(
                f"a reference is missing or empty (got {list(prediction.references)!r} for id {prediction.id!r}); "
                "give each dialogue at least one summary, none of them empty"
            )


@dataclass(frozen=True)
class _Scores:
    """The scores of a set of texts: by metric, one score per dialogue, or one number for the corpus."""

    per_example: dict[str, FloatArray]
    scalars: dict[str, float]
    by_references: dict[str, ByReferences]


def _score(
    sets: Mapping[str, TextSet], settings: EvaluationSettings
) -> tuple[dict[str, _Scores], dict[str, ExtraMetric]]:
    """Return the scores of each set and how the metrics of the evaluate library were computed."""
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


def _protocol(settings: EvaluationSettings, extra_metrics: dict[str, ExtraMetric]) -> Protocol:
    protocol = Protocol(
        implementation=rouge.IMPLEMENTATION,
        version=rouge.implementation_version(),
        tokenizer=settings.tokenizer,
        stemmer=settings.use_stemmer,
        sentence_splitting=splitting(settings.split_sentences),
        references=settings.references,
        bootstrap=Bootstrap(
            samples=settings.bootstrap_samples, seed=settings.bootstrap_seed, confidence=settings.confidence
        ),
    )
    return protocol.model_copy(update={"extra_metrics": extra_metrics}) if extra_metrics else protocol


def _estimates(scores: _Scores, settings: EvaluationSettings) -> dict[str, Estimate]:
    found = {name: Estimate(value=value, ci_low=None, ci_high=None) for name, value in scores.scalars.items()}
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
) -> Anchor | None:
    """Return the floor or the ceiling as it is in ``metrics.json``."""
    if texts is None:
        return None
    return Anchor(name=name, n=len(texts.texts_a_dialogue), metrics=_estimates(scored[name], settings))


def _no_better_than(floor: Anchor | None, metrics: Mapping[str, Estimate]) -> list[str]:
    """Return a sentence if the first metric is no higher than the floor's: then nothing was summarized."""
    name = next((name for name in metrics if floor is not None and name in floor.metrics), None)
    if floor is None or name is None or numbers.is_lower_better(name):
        return []
    ours, theirs = metrics[name].value, floor.metrics[name].value
    if ours > theirs:
        return []
    return [
        f"The predictions score no higher than the first three turns of each dialogue ({floor.name}): "
        f"{numbers.score(name, ours)} against {numbers.score(name, theirs)} {numbers.metric_title(name)}."
    ]


def _fingerprint(rows: Iterable[list[str]]) -> str:
    """Return a hash of the rows, the same for any order; JSON keeps ``["a", "bc"]`` and ``["ab", "c"]`` distinct."""
    return hashlib.sha256("\n".join(sorted(json.dumps(row) for row in rows)).encode()).hexdigest()
