"""Dialogues with their references and the scored summary of each system, for the report's reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from summtune.base import numbers
from summtune.base.errors import RunDirectoryError
from summtune.runs.finished import FinishedRun
from summtune.runs.records import Prediction


@dataclass(frozen=True)
class SystemSummary:
    """The summary that one system wrote for a dialogue.

    Args:
        system: its name.
        text: the summary.
        score: the first metric's score as text, empty if no metric scores single dialogues.
        notes: problems of this summary: ``cut at max_new_tokens``, ``dialogue truncated``.
    """

    system: str
    text: str
    score: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoredDialogue:
    """One dialogue of the reader; ``dialogue`` is empty if no system's file contains its text."""

    id: str
    dialogue: str
    references: tuple[str, ...]
    outputs: tuple[SystemSummary, ...]


@dataclass(frozen=True)
class DialogueScores:
    """The score of every dialogue.

    Args:
        metrics: names of the metrics that every system has for each dialogue.
        columns: metrics × systems × dialogues, in the order of the dialogues.
    """

    metrics: tuple[str, ...]
    columns: tuple[tuple[tuple[float, ...], ...], ...]


def gather_dialogues(
    names: Sequence[str], runs: Sequence[FinishedRun]
) -> tuple[tuple[ScoredDialogue, ...], DialogueScores]:
    """Return every dialogue, in the order of the first run's predictions, and the scores in the same order.

    Args:
        names: of the systems.
        runs: their files, in the same order, with the same dialogues.

    Raises:
        RunDirectoryError: a run's predictions and scores are not of the dialogues of the first run.
    """
    ids = [prediction.id for prediction in runs[0].predictions]
    for run in runs:
        _check_ids(run, set(ids))
    predictions: list[Mapping[str, Prediction]] = [{each.id: each for each in run.predictions} for run in runs]
    first = [run.per_example[ids[0]] for run in runs]
    metrics = tuple(name for name in first[0] if all(name in each for each in first))
    columns = tuple(tuple(tuple(run.per_example[id_][name] for id_ in ids) for run in runs) for name in metrics)
    shown = [tuple(numbers.score(metrics[0], score) for score in column) for column in columns[0]] if metrics else []
    dialogues = []
    for row, id_ in enumerate(ids):
        written = [each[id_] for each in predictions]
        outputs = tuple(
            SystemSummary(name, each.prediction, shown[place][row] if shown else "", _notes(each))
            for place, (name, each) in enumerate(zip(names, written, strict=True))
        )
        dialogue = next((each.dialogue for each in written if each.dialogue), "")
        dialogues.append(ScoredDialogue(id_, dialogue, written[0].references, outputs))
    return tuple(dialogues), DialogueScores(metrics, columns)


def _check_ids(run: FinishedRun, ids: set[str]) -> None:
    found = run.per_example.keys()  # those of its predictions too
    if found != ids:
        raise RunDirectoryError(
            f"{run.folder} is not a run on the same dialogues as the others of this report (got {min(found ^ ids)!r} "
            "in only one of them); run the command of that run again"
        )


def _notes(prediction: Prediction) -> tuple[str, ...]:
    notes = {
        "cut at max_new_tokens": prediction.hit_length_cap,
        "dialogue truncated": prediction.truncated,
        "thought left out": prediction.thinking is not None,
    }
    return tuple(note for note, holds in notes.items() if holds)
