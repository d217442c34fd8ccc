"""Divides training pairs into the same global batches on any layout of processes and accumulation.

Global batch k is a set of pairs that depends only on the seed, the epoch and the global batch size. How it is divided
into micro batches does not matter, because the loss is the mean over the target tokens of the whole global batch. The
last global batch of an epoch is filled up with pairs without target tokens, which add nothing to loss and gradient;
dropping or repeating real pairs would make the training depend on the layout.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from summtune.work.tokens.pairs import Pairs

_WINDOW = 50  # number of global batches that are sorted by length together


class GlobalBatches:
    """The global batches of a training, by optimizer step.

    Args:
        pairs: with fillers up to a multiple of ``size``.
        size: pairs per optimizer step.
        seed: of the order.
        group_by_length: put pairs of similar length into one global batch (sorted within windows of 50 shuffled
            batches), which avoids most of the padding; the order of the batches stays random.
    """

    def __init__(self, pairs: Pairs, size: int, seed: int, group_by_length: bool) -> None:
        assert len(pairs) % size == 0, "the fillers make whole global batches"
        self.size = size
        self.seed = seed
        self.group_by_length = group_by_length
        self.steps_per_epoch = len(pairs) // size
        self.real = len(pairs.pairs)
        self.lengths = np.fromiter((len(pairs[i]["input_ids"]) for i in range(len(pairs))), np.int32, len(pairs))
        self._targets = np.zeros(len(pairs), np.int64)
        self._targets[: self.real] = [len(pair["labels"]) for pair in pairs.pairs]
        self._prompts = np.zeros(len(pairs), np.int64)
        self._prompts[: self.real] = [len(pair["input_ids"]) for pair in pairs.pairs]
        self._order: tuple[int, npt.NDArray[np.int32]] | None = None

    def __getitem__(self, step: int) -> list[int]:
        """Return the indices of the pairs of an optimizer step, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.steps_per_epoch)
        found: list[int] = self._ordered(epoch)[place * self.size : (place + 1) * self.size].tolist()
        return found

    def target_tokens(self, pairs: Sequence[int]) -> int:
        """Return the number of target tokens of pairs; fillers have none."""
        return int(self._targets[list(pairs)].sum())

    def tokens(self, pairs: Sequence[int]) -> int:
        """Return the number of prompt and target tokens of pairs, without padding and fillers."""
        return int((self._targets + self._prompts)[list(pairs)].sum())

    def order(self, epoch: int) -> list[int]:
        """Return the indices of the pairs of ``epoch`` in order: a permutation, with fillers in the last batch."""
        found: list[int] = self._ordered(epoch).tolist()
        return found

    def _ordered(self, epoch: int) -> npt.NDArray[np.int32]:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._shuffled(epoch)
        return self._order[1]

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int32]:
        size = self.size
        rng = random.Random(f"{self.seed}/{epoch}")
        shuffled = list(range(self.real))
        rng.shuffle(shuffled)
        order = np.concatenate([np.array(shuffled, np.int32), np.arange(self.real, len(self.lengths), dtype=np.int32)])
        if self.group_by_length:
            for start in range(0, self.real, size * _WINDOW):
                window = order[start : min(start + size * _WINDOW, self.real)]
                window[:] = window[np.argsort(-self.lengths[window], kind="stable")]
            whole = list(range(self.real // size))
            rng.shuffle(whole)
            end = len(whole) * size
            order[:end] = order[:end].reshape(-1, size)[whole].ravel()
        return order


def share_of(pairs: Sequence[int], size: int, rank: int, ranks: int) -> list[Sequence[int]]:
    """Return the micro batches of a rank: of all micro batches in turn, every one that is its.

    Args:
        pairs: of a global batch, or of an evaluation; a multiple of ``size`` × ``ranks``.
        size: pairs of a micro batch.
        rank: of this process.
        ranks: number of processes.
    """
    return [pairs[start : start + size] for start in range(rank * size, len(pairs), ranks * size)]
