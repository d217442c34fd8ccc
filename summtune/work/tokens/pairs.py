"""Training pairs: the token ids of a prompt and of the target summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

from torch.utils.data import Dataset

IGNORED = -100


class Pair(TypedDict):
    """A training pair: token ids of the prompt and of the summary."""

    input_ids: Sequence[int]
    labels: Sequence[int]


class Pairs(Dataset[Pair]):
    """Tokenized pairs, followed by pairs without target tokens up to a multiple of ``multiple``.

    Args:
        pairs: the real pairs.
        multiple: global batch (training), or number of pairs evaluated at once over all processes.
        eos: id of the end-of-sequence token, the whole prompt of a filler.
        example: returns what the model reads of a pair, and what it is scored on.
    """

    def __init__(
        self, pairs: Sequence[Pair], multiple: int, eos: int, example: Callable[[Pair], Pair] = lambda pair: pair
    ) -> None:
        self.pairs = pairs
        self._example = example
        self.fillers = -len(pairs) % multiple
        self._filler = Pair(input_ids=[eos], labels=[IGNORED])

    def __len__(self) -> int:
        return len(self.pairs) + self.fillers

    def __getitem__(self, index: int) -> Pair:
        return self._example(self.pairs[index]) if index < len(self.pairs) else self._filler

    @property
    def target_tokens(self) -> int:
        """Number of target tokens of all pairs."""
        return sum(len(self.pairs[index]["labels"]) for index in range(len(self.pairs)))
