"""The thought of a reasoning model: the ``<think>…</think>`` part of its output, which is not part of the summary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from summtune.base.numbers import counted
from summtune.runs.records import Prediction

_OPEN, _CLOSE = "<think>", "</think>"
_MARKER = re.compile(f"({_OPEN}|{_CLOSE})")


class Parts(NamedTuple):
    """An output in two parts.

    Args:
        text: the summary, without white space around it; empty where the thought did not end.
        thinking: the thought, likewise; None without one, or where the model ended an empty one.
    """

    text: str
    thinking: str | None


def opens_thought(prompt: str) -> bool:
    """Return whether a prompt ends with ``<think>``, as templates write it that have the model begin with a thought."""
    return prompt.rstrip().endswith(_OPEN)


def split_thinking(text: str, *, opened: bool = False) -> Parts:
    """Return the summary and the thought of an output.

    What precedes a ``</think>`` without its ``<think>`` is a thought: the prompt had opened it.

    Args:
        text: as generated, special tokens removed.
        opened: whether the output begins inside a thought.
    """
    said: list[str] = []
    thoughts: list[str] = []
    inside, found = opened, opened
    for part in _MARKER.split(text):
        if part == _OPEN:
            inside = found = True
        elif part == _CLOSE:
            if not inside:
                thoughts, said = [*thoughts, *said], []
            inside, found = False, True
        else:
            (thoughts if inside else said).append(part.strip())
    if not found:
        return Parts(text.strip(), None)
    thinking = "\n\n".join(filter(None, thoughts))
    return Parts("" if inside else "\n".join(filter(None, said)), thinking if thinking or inside else None)


def is_unfinished(prediction: Prediction) -> bool:
    """Return whether no summary followed the thought, most often because ``max_new_tokens`` ended it."""
    return prediction.thinking is not None and not prediction.prediction


def thought_warnings(predictions: Sequence[Prediction]) -> list[str]:
    """Return sentences on the thoughts of the test dialogues that a reader of the scores must know."""
    of = f"of {counted(len(predictions), 'output')}"
    thoughts = sum(one.thinking is not None for one in predictions)
    unfinished = sum(map(is_unfinished, predictions))
    found = []
    if thoughts:
        found.append(f"test: {thoughts:,} {of} had a thought ({_OPEN}…{_CLOSE}), which is not part of the prediction")
    if unfinished:
        found.append(
            f"test: {unfinished:,} {of} ended before a summary followed the thought, so the prediction is empty; set "
            "`chat_template_kwargs: {enable_thinking: false}`, or raise generation.max_new_tokens"
        )
    return found
