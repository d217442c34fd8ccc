"""The floor and the ceiling between which scores are read: the dialogue's first turns, and people among themselves."""

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
    """Texts with the references that they are scored against, as a system's predictions are.

    Args:
        texts: one or more for a dialogue, those of a dialogue one after the other.
        references: of each text at least one.
        texts_a_dialogue: for each dialogue how many texts it has; their scores are averaged.
    """

    texts: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    texts_a_dialogue: tuple[int, ...]


def lead(dialogue: str) -> str:
    """Return the first three turns, each on its line (LEAD-3; Gliwa et al., *SAMSum Corpus*, 2019).

    Of a dialogue that is a single line, the first three sentences.
    """
    turns = [line for line in dialogue.split("\n") if line.strip()]
    if len(turns) == 1:
        turns = sentences(turns[0])
    return "\n".join(turns[:_LEAD])


def floor(predictions: Sequence[Prediction]) -> TextSet | None:
    """Return what a reader of three turns would hand in; None where a dialogue's text is not known."""
    if not all(prediction.dialogue.strip() for prediction in predictions):
        return None
    return TextSet(
        tuple(lead(prediction.dialogue) for prediction in predictions),
        tuple(prediction.references for prediction in predictions),
        (1,) * len(predictions),
    )


def ceiling(predictions: Sequence[Prediction]) -> TextSet | None:
    """Return every reference as if a system had written it, against the other references of its dialogue.

    Dialogues with one reference are left out; None where no dialogue has two. A person is measured against one
    reference fewer than a system, which under ``references: max`` makes the ceiling a little low.
    """
    several = [prediction.references for prediction in predictions if len(prediction.references) > 1]
    if not several:
        return None
    return TextSet(
        tuple(text for references in several for text in references),
        tuple((*references[:i], *references[i + 1 :]) for references in several for i in range(len(references))),
        tuple(len(references) for references in several),
    )
