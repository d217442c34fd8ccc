"""Batches of prompts of like length, for generators that pad."""

from __future__ import annotations

from collections.abc import Sequence


def batches_of_like_length(prompts: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Return the indices of the prompts in batches, the longest prompts first: a lack of memory shows at once.

    The batches depend on the set of the prompts alone, not on their order.

    Args:
        prompts: token ids of each, distinct.
        size: prompts of a batch; the last one may have fewer.
    """
    ordered = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), prompts[index]))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
