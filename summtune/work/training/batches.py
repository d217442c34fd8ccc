"""Divides training pairs into the same global batches on any layout of processes and accumulation.

Global batch k is a set of pairs that depends only on the seed, the epoch and the global batch size. How it is divided
into micro batches does not matter, because the loss is the mean over the target tokens of the whole global batch. The
last global batch of an epoch is filled up with pairs without target tokens, which add nothing to loss and gradient;
dropping or repeating real pairs would make the training depend on the layout.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from summtune.work.tokens.pairs import Pairs

_WINDOW = 50  # number of global batches that are sorted by length together


class GlobalBatchSampler(Sampler[int]):
    """Yields the indices of an epoch's pairs, one global batch after another.

    Args:
        pairs: with fillers up to a multiple of ``global_batch``.
        global_batch: pairs per optimizer step.
        seed: of the order.
        group_by_length: put pairs of similar length into one global batch (sorted within windows of 50 shuffled
            batches), which avoids most of the padding; the order of the batches stays random.
    """

    def __init__(self, pairs: Pairs, global_batch: int, seed: int, group_by_length: bool) -> None:
        assert len(pairs) % global_batch == 0, "the fillers make whole global batches"
        self.real = len(pairs.pairs)
        self.lengths = np.fromiter((len(pairs[i]["input_ids"]) for i in range(len(pairs))), np.int32, len(pairs))
        self.tokens = np.zeros(len(pairs), np.int64)
        self.tokens[: self.real] = [len(pairs[i]["labels"]) for i in range(self.real)] + self.lengths[: self.real]
        self._sums: tuple[int, npt.NDArray[np.int64]] | None = None
        self.global_batch = global_batch
        self.seed = seed
        self.group_by_length = group_by_length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which seeds the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch))

    def order(self, epoch: int) -> list[int]:
        """Return the indices of the pairs of ``epoch`` in order: a permutation, with fillers in the last batch."""
        size = self.global_batch
        rng = random.Random(f"{self.seed}/{epoch}")
        shuffled = list(range(self.real))
        rng.shuffle(shuffled)
        order = np.concatenate([np.array(shuffled, np.int32), np.arange(self.real, len(self), dtype=np.int32)])
        if self.group_by_length:
            for start in range(0, self.real, size * _WINDOW):
                window = order[start : min(start + size * _WINDOW, self.real)]
                window[:] = window[np.argsort(-self.lengths[window], kind="stable")]
            whole = list(range(self.real // size))
            rng.shuffle(whole)
            end = len(whole) * size
            order[:end] = order[:end].reshape(-1, size)[whole].ravel()
        found: list[int] = order.tolist()
        return found

    def tokens_of_steps(self, first: int, last: int) -> int:
        """Return the prompt and target tokens, without padding, of the steps ``first`` to ``last`` (exclusive)."""
        steps_per_epoch = len(self) // self.global_batch
        total = 0
        for epoch in range(first // steps_per_epoch, (max(last, 1) - 1) // steps_per_epoch + 1):
            start = max(first - epoch * steps_per_epoch, 0) * self.global_batch
            end = min(last - epoch * steps_per_epoch, steps_per_epoch) * self.global_batch
            if end > start:
                sums = self._sums_of(epoch)
                total += int(sums[end] - sums[start])
        return total

    def _sums_of(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the tokens before each position of an epoch; cached, because each line of the log needs some."""
        if self._sums is None or self._sums[0] != epoch:
            self._sums = epoch, np.concatenate([[0], np.cumsum(self.tokens[self.order(epoch)])])
        return self._sums[1]
