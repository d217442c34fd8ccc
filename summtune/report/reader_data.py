"""The JSON that the page's reader shows, in chunks that are parsed on demand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from summtune.base import numbers
from summtune.base.visible import one_line, visible
from summtune.report.diagnostics import DiagnosticRow
from summtune.report.scored_dialogues import DialogueScores, ScoredDialogue

CHUNK = 100
"""Number of dialogues per chunk."""
BUDGET = 55_000_000
"""Most bytes of dialogues on a page: mail and browsers accept the file, and it opens in seconds."""
_SCORE_BYTES = 16  # of one score with its comma
_ESCAPED = str.maketrans({"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@dataclass(frozen=True)
class ReaderData:
    """The data that the page embeds.

    Args:
        index: JSON of the systems, metrics, ids, scores and examples of checks.
        chunks: JSON of ``CHUNK`` dialogues each; only the last may have fewer.
        held: number of dialogues in the chunks, counted from the first.
        check_titles: checks with examples on the page, in the order of the index.
    """

    index: str
    chunks: tuple[str, ...]
    held: int
    check_titles: tuple[str, ...]


def reader_data(
    dialogues: Sequence[ScoredDialogue],
    scores: DialogueScores,
    names: Sequence[str],
    *,
    pair: tuple[int, int],
    checks: Sequence[DiagnosticRow] = (),
    budget: int = BUDGET,
) -> ReaderData:
    """Return the dialogues as JSON: as many as fit into ``budget``, from the first, and at least one.

    Args:
        dialogues: all dialogues.
        scores: of the dialogues.
        names: of the systems.
        pair: the systems whose difference the reader shows first; the same index twice for a single one.
        checks: their examples can be selected in the reader.
        budget: in bytes.
    """
    rows: list[str] = []
    size = 0
    for dialogue in dialogues:
        row = to_json(_row(dialogue))
        size += len(row.encode()) + _SCORE_BYTES * len(scores.metrics) * len(names)
        if rows and size > budget:
            break
        rows.append(row)
    chunks = tuple(f"[{','.join(rows[start : start + CHUNK])}]" for start in range(0, len(rows), CHUNK))
    picked = _examples(checks, {dialogue.id for dialogue in dialogues[: len(rows)]})
    index: dict[str, Any] = {
        "systems": [one_line(name) for name in names],
        "pair": pair,
        "chunk": CHUNK,
        "ids": [visible(dialogue.id) for dialogue in dialogues[: len(rows)]],
        "metrics": [_metric(name) for name in scores.metrics],
        "scores": [
            [[round(score, 12) for score in column[: len(rows)]] for column in metric] for metric in scores.columns
        ],
        "checks": list(picked.values()),
    }
    return ReaderData(to_json(index), chunks, len(rows), tuple(picked))


def to_json(value: Any) -> str:
    """Return JSON that is safe within a ``<script>`` element: no text in it can close the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


def _row(dialogue: ScoredDialogue) -> list[Any]:
    """Return id, dialogue, references, and a summary with its notes for each system."""
    outputs = [[visible(output.text), *output.notes] for output in dialogue.outputs]
    return [visible(dialogue.id), visible(dialogue.dialogue), [visible(text) for text in dialogue.references], outputs]


def _metric(name: str) -> dict[str, Any]:
    """Return how the reader formats a metric's scores, as ``numbers.score`` does, and the sign of better values."""
    scale, digits = (100, 1) if numbers.is_fraction(name) else (1, 3)
    sign = -1 if numbers.is_lower_better(name) else 1
    return {"title": visible(numbers.metric_title(name)), "scale": scale, "digits": digits, "better": sign}


def _examples(checks: Sequence[DiagnosticRow], held: set[str]) -> dict[str, list[str]]:
    """Return the ids of examples on the page by the titles of their checks."""
    found = {
        check.title: list(dict.fromkeys(visible(example.id) for example in check.examples if example.id in held))
        for check in checks
    }
    return {title: ids for title, ids in found.items() if ids}
