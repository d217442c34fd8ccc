"""Finds the examples of a training that teach something else than what is asked of the model later.

Every check reads the memory-mapped tokens of a role at once, so all of them together take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from summtune.base.files import read_jsonl
from summtune.runs.records import Dialogue
from summtune.runs.supervision import Check
from summtune.work.tokens.completions import Fault
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.tokens import Tokens

_ENCODED_AGAIN = 256
"""Prompts of a role that are encoded a second time. All come from one encoder, and these show that it is the one of
generation."""
_CHUNK = 1 << 22
_FEW = 4
"""A completion with more tokens than this has one that is not a control token: no tokenizer adds as many."""

Places: TypeAlias = "npt.NDArray[np.int64]"

FAULTS: dict[Check, Fault] = {
    "stable_template": Fault.UNSTABLE,
    "prompt_kept": Fault.MERGED,
    "summary_unchanged": Fault.ALTERED,
    "nothing_added": Fault.ADDED,
    "end_written": Fault.NO_END,
}
"""The fault of a completion by the check that finds it."""


@dataclass(frozen=True)
class Lesson:
    """What examples are checked against.

    Args:
        encoder: that encoded the prompts.
        generating: the encoder of the predict stage, made again from the model's files.
        ends: the ids that end a generated summary.
        target_len: most tokens of a completion.
    """

    encoder: PromptEncoder
    generating: PromptEncoder
    ends: tuple[int, ...]
    target_len: int


class Violation(NamedTuple):
    """The examples of a role that fail a check.

    Args:
        check: that they fail.
        places: of the pairs, ascending; of the dialogues for ``prompt_as_generated_from``.
        of: how many were checked.
    """

    check: Check
    places: Sequence[int]
    of: int


def violations(tokens: Tokens, data: Path, lesson: Lesson) -> Iterator[Violation]:
    """Yield the checks that examples of a role fail.

    An example counts for the first check that it fails.

    Args:
        tokens: of the role.
        data: its dialogues, as the command wrote them.
        lesson: to check against.
    """
    count = len(tokens.pairs)
    wrong = np.zeros(count, bool)
    found: list[tuple[Check, npt.NDArray[np.bool_]]] = [
        (check, (tokens.faults & fault) != 0) for check, fault in FAULTS.items()
    ]
    found += [
        ("one_bos", _doubled_bos(tokens, lesson.encoder)),
        ("not_empty", _empty(tokens, lesson.encoder)),
        ("end_stops_generation", _endless(tokens, lesson)),
        ("not_cut", completion_lengths(tokens) > lesson.target_len),
    ]
    for check, failing in found:
        places = np.flatnonzero(failing & ~wrong)
        wrong |= failing
        if len(places):
            yield Violation(check, places.tolist(), count)
    sample = encoded_again(tokens, lesson)
    different = _different(tokens, data, lesson, sample)
    if different:
        yield Violation("prompt_as_generated_from", different, len(sample))


def prompt_lengths(tokens: Tokens) -> Places:
    """Return the number of tokens of each pair's prompt."""
    return _lengths(tokens, tokens.pair_prompts)


def completion_lengths(tokens: Tokens) -> Places:
    """Return the number of tokens of each pair's completion."""
    return _lengths(tokens, tokens.pair_labels)


def encoded_again(tokens: Tokens, lesson: Lesson) -> list[int]:
    """Return the places of the dialogues whose prompts are encoded a second time: evenly spread, none left out."""
    spread = np.unique(np.linspace(0, len(tokens.prompts) - 1, _ENCODED_AGAIN).astype(int)).tolist()
    left_out = lesson.encoder.long_dialogues == "drop"
    return [place for place in spread if not (left_out and tokens.prompts[place].truncated)]


def doubled(tokens: Tokens, bos: int) -> Places:
    """Return the places in ``tokens.file.tokens`` of a token ``bos`` that another one follows in the same row."""
    flat, starts = tokens.file.tokens, tokens.file.starts
    found = [np.empty(0, np.int64)]
    for start in range(0, len(flat) - 1, _CHUNK):  # little memory, however many tokens there are
        chunk = flat[start : start + _CHUNK + 1] == bos
        found.append(start + np.flatnonzero(chunk[:-1] & chunk[1:]))
    places = np.concatenate(found)
    row = np.searchsorted(starts, places, side="right") - 1
    return places[places + 1 < starts[row + 1]]


def _lengths(tokens: Tokens, rows: Places) -> Places:
    starts = tokens.file.starts
    return starts[rows + 1] - starts[rows]


def _doubled_bos(tokens: Tokens, encoder: PromptEncoder) -> npt.NDArray[np.bool_]:
    """Return which pairs have two beginning-of-sequence tokens in a row, also where prompt and completion meet."""
    bos = encoder.tokenizer.bos_token_id
    if not isinstance(bos, int):
        return np.zeros(len(tokens.pairs), bool)
    flat, starts = tokens.file.tokens, tokens.file.starts
    rows = np.unique(np.searchsorted(starts, doubled(tokens, bos), side="right") - 1)
    found: npt.NDArray[np.bool_] = np.isin(tokens.pair_prompts, rows) | np.isin(tokens.pair_labels, rows)
    if encoder.continued and len(flat):
        written = completion_lengths(tokens) > 0
        first = flat[np.minimum(starts[tokens.pair_labels], len(flat) - 1)]
        found |= written & (flat[starts[tokens.pair_prompts + 1] - 1] == bos) & (first == bos)
    return found


def _empty(tokens: Tokens, encoder: PromptEncoder) -> npt.NDArray[np.bool_]:
    """Return which completions are nothing but control tokens."""
    found = np.zeros(len(tokens.pairs), bool)
    for place in np.flatnonzero(completion_lengths(tokens) <= _FEW):
        ids = tokens.pairs[int(place)]["labels"]
        found[place] = encoder.control.counted(ids).total() == len(ids)
    return found


def _endless(tokens: Tokens, lesson: Lesson) -> npt.NDArray[np.bool_]:
    """Return which completions do not end with a token that ends a generated summary.

    An encoder-decoder may write its language after the end, as mBART does.
    """
    flat, starts = tokens.file.tokens, tokens.file.starts
    lengths = completion_lengths(tokens)
    ended = np.zeros(len(tokens.pairs), bool)
    for back in (1,) if lesson.encoder.continued else (1, 2):
        there = np.flatnonzero(lengths >= back)
        last = flat[starts[tokens.pair_labels[there] + 1] - back]
        ended[there] |= np.isin(last, lesson.ends)
    return ~ended


def _different(tokens: Tokens, data: Path, lesson: Lesson, sample: Sequence[int]) -> list[int]:
    """Return the dialogues of a sample whose prompt is not what the model is asked with."""
    wanted = set(sample)
    rows = (row for place, row in enumerate(read_jsonl(data)) if place in wanted)
    asked = lesson.generating.encode([Dialogue.from_json(row) for row in rows])
    return [
        place
        for place, prompt in zip(sample, asked, strict=True)
        if list(prompt.ids) != list(tokens.prompts[place].ids)
    ]
