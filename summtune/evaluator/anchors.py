"""The floor and the ceiling that put scores in perspective: the dialogue's first turns, and agreement among people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from summtune.evaluator.sentences import sentences
from summtune.runs.records import Prediction

FLOOR = "lead-3"
CEILING = "human agreement"

_LEAD = 3


@dataclass(frozen=True)
class TextSet:
    """Texts with the references that they are scored against, like a system's predictions.

    Args:
        texts: one or more per dialogue; those of a dialogue are adjacent.
        references: at least one per text.
        texts_a_dialogue: number of texts of each dialogue; their scores are averaged.
    """

    texts: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    texts_a_dialogue: tuple[int, ...]


def lead(dialogue: str) -> str:
    """Return the first three turns, one per line (LEAD-3; Gliwa et al., *SAMSum Corpus*, 2019).

    For a dialogue on a single line, the first three sentences.
    """
    turns = [line for line in dialogue.split("\n") if line.strip()]
    if len(turns) == 1:
        turns = sentences(turns[0])
    return "\n".join(turns[:_LEAD])


def floor(predictions: Sequence[Prediction]) -> TextSet | None:
    """Return the first three turns of each dialogue as its summary; None if the text of a dialogue is unknown."""
    if not all(prediction.dialogue.strip() for prediction in predictions):
        return None
    return TextSet(
        tuple(lead(prediction.dialogue) for prediction in predictions),
        tuple(prediction.references for prediction in predictions),
        (1,) * len(predictions),
    )


def ceiling(predictions: Sequence[Prediction]) -> TextSet | None:
    """Return every reference as if a system had written it, against the other references of its dialogue.

    Dialogues with one reference are left out; None if no dialogue has two. Each person is scored against one reference
    fewer than a system, which makes the ceiling slightly low under ``references: max``.
    """
    several = [prediction.references for prediction in predictions if len(prediction.references) > 1]
    if not several:
        return None
    return TextSet(
        tuple(text for references in several for text in references),
        tuple((*references[:i], *references[i + 1 :]) for references in several for i in range(len(references))),
        tuple(len(references) for references in several),
    )
