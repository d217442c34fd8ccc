"""Looks for what makes scores misleading: empty, capped, truncated or constant outputs, unreadable references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from summtune.evaluator.rouge import has_words
from summtune.records import Prediction

_EXAMPLES = 3
"""Dialogue ids that stand beside a count, to look at."""


def diagnose(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the ``diagnostics`` of ``metrics.json``.

    Counts come as ``{"count": dialogues, "examples": [up to three ids]}``, means as numbers, and ``warnings`` holds one
    sentence for each thing that a reader of the scores must know.

    Args:
        predictions: at least one.
    """
    constant = _constant_output(predictions)
    found: dict[str, Any] = {
        "empty_predictions": _counted(p.id for p in predictions if not p.prediction.strip()),
        "hit_length_cap": _counted(p.id for p in predictions if p.hit_length_cap),
        "truncated_dialogues": _counted(p.id for p in predictions if p.truncated),
        "constant_output": _counted(p.id for p in constant),
        "references_without_words": _counted(p.id for p in predictions if not all(map(has_words, p.references))),
        "mean_prompt_tokens": _mean_known(p.prompt_tokens for p in predictions),
        "mean_new_tokens": _mean_known(p.new_tokens for p in predictions),
        "mean_prediction_words": fmean(len(p.prediction.split()) for p in predictions),
        "mean_reference_words": fmean(len(text.split()) for p in predictions for text in p.references),
    }
    found["warnings"] = _warnings(found, len(predictions))
    return found


def _counted(ids: Iterable[str]) -> dict[str, Any]:
    found = list(ids)
    return {"count": len(found), "examples": found[:_EXAMPLES]}


def _mean_known(counts: Iterable[int | None]) -> float | None:
    """Return the mean of the counts that are known; None where none is, of outputs from elsewhere."""
    known = [count for count in counts if count is not None]
    return fmean(known) if known else None


def _constant_output(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions that say the same, if they are more than half of several; else none.

    Equal empty outputs are reported as empty, not here.
    """
    texts = Counter(p.prediction.strip() for p in predictions)
    text, count = texts.most_common(1)[0]
    if not text or count < 2 or count * 2 <= len(predictions):
        return []
    return [p for p in predictions if p.prediction.strip() == text]


_SENTENCES = {
    "empty_predictions": "{count} of {n} predictions are empty and score 0 (for instance {examples}).",
    "hit_length_cap": "{count} of {n} predictions hit max_new_tokens and may be cut short (for instance {examples}).",
    "truncated_dialogues": "{count} of {n} dialogues were truncated to fit sequence_len (for instance {examples}).",
    "constant_output": "{count} of {n} predictions are one and the same text (for instance {examples}).",
    "references_without_words": (
        "{count} of {n} dialogues have a reference without a letter a-z or digit, which ROUGE scores 0 whatever was "
        "written (for instance {examples})."
    ),
}


def _warnings(found: dict[str, Any], n: int) -> list[str]:
    return [
        sentence.format(count=found[key]["count"], n=n, examples=", ".join(found[key]["examples"]))
        for key, sentence in _SENTENCES.items()
        if found[key]["count"]
    ]
