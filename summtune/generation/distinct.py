"""The prompts of a run, each generated once regardless of how many dialogues share it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P")


@dataclass(frozen=True)
class DistinctPrompts(Generic[P]):
    """The distinct prompts of a list of dialogues.

    Args:
        prompts: in the order in which they come first.
        keys: of the distinct prompts (`key_of`).
        indices: for each dialogue, the index of its prompt in ``prompts``.
    """

    prompts: list[P]
    keys: list[str]
    indices: list[int]

    @classmethod
    def of(cls, prompts: Iterable[P]) -> DistinctPrompts[P]:
        """Return the distinct prompts of ``prompts``, which has one a dialogue."""
        distinct: list[P] = []
        index_of: dict[str, int] = {}
        indices = []
        for prompt in prompts:
            key = key_of(prompt)
            if key not in index_of:
                index_of[key] = len(distinct)
                distinct.append(prompt)
            indices.append(index_of[key])
        return cls(distinct, list(index_of), indices)


def key_of(prompt: object) -> str:
    """Return the name of a prompt in the partial files: 24 hex digits.

    Args:
        prompt: token ids (any sequence of them), a text, or chat messages.
    """
    return hashlib.sha256(json.dumps(prompt, default=list).encode()).hexdigest()[:24]
