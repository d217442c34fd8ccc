"""Checks what the model reads and is scored on, in the batches that a training really makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from summtune.work.supervision.checks import Violation, completion_lengths, prompt_lengths
from summtune.work.tokens.pairs import IGNORED, Pair
from summtune.work.tokens.tokens import Tokens

_AT_ONCE = 64

Collate: TypeAlias = Callable[[Sequence[Pair]], Mapping[str, torch.Tensor]]

Row: TypeAlias = "npt.NDArray[Any]"


class Batching(NamedTuple):
    """How a training makes batches of pairs.

    Args:
        example: see `summtune.work.models.family.ModelFamily`.
        collate: likewise.
        continued: whether the completion continues the prompt in one sequence.
    """

    example: Callable[[Pair], Pair]
    collate: Collate
    continued: bool


def batch_violations(tokens: Tokens, batching: Batching) -> Iterator[Violation]:
    """Yield ``completion_alone_is_trained`` if the batches of some examples score anything else.

    Args:
        tokens: of a role.
        batching: of the training.
    """
    by_length = np.argsort(prompt_lengths(tokens) + completion_lengths(tokens), kind="stable")  # little padding
    wrong: list[int] = []
    for start in range(0, len(by_length), _AT_ONCE):
        places = by_length[start : start + _AT_ONCE]
        batch = batching.collate([batching.example(tokens.pairs[place]) for place in places.tolist()])
        arrays = {name: tensor.numpy() for name, tensor in batch.items()}
        prompts, completions = (
            [tokens.file.row(number) for number in rows[places].tolist()]
            for rows in (tokens.pair_prompts, tokens.pair_labels)
        )
        wrong += places[~_right(prompts, completions, arrays, batching.continued)].tolist()
    if wrong:
        yield Violation("completion_alone_is_trained", sorted(wrong), len(by_length))


def _right(
    prompts: Sequence[Row], completions: Sequence[Row], batch: Mapping[str, Row], continued: bool
) -> npt.NDArray[np.bool_]:
    """Return which rows of a batch are as they must be, of shape (rows,).

    The scored labels are the completion; they stand from the last token of the prompt on, or from the first of the
    decoder; what the model reads after each of them is this label itself; and before them it reads the prompt.
    """
    inputs, labels = batch["input_ids"], batch["labels"]
    read = batch.get("decoder_input_ids", inputs)
    asked, written = (np.array([len(row) for row in rows]) for rows in (prompts, completions))
    first = asked - 1 if continued else np.zeros(len(asked), int)
    place = np.arange(labels.shape[1])
    due = (place >= first[:, None]) & (place < (first + written)[:, None])
    right: npt.NDArray[np.bool_] = ((labels != IGNORED) == due).all(axis=1)
    follows = due[:, :-1] & due[:, 1:]
    right &= ~(follows & (read[:, 1:] != labels[:, :-1])).any(axis=1)
    right &= _equal(labels, first, completions)
    right &= _equal(inputs, np.zeros(len(asked), int), prompts)
    return right


def _equal(rows: Row, starts: npt.NDArray[np.int64], expected: Sequence[Row]) -> npt.NDArray[np.bool_]:
    """Return which rows contain what is expected from a place on."""
    return np.array(
        [
            np.array_equal(row[start : start + len(ids)], ids)
            for row, start, ids in zip(rows, starts, expected, strict=True)
        ],
        dtype=bool,
    )
