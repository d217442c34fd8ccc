"""Fillers make whole global batches and have no target tokens."""

import pytest
from made_up_pairs import make_pairs

from summtune.work.tokens.pairs import IGNORED


@pytest.mark.parametrize(("real", "multiple", "fillers"), [(13, 8, 3), (16, 8, 0), (1, 8, 7), (5, 1, 0)])
def test_pairs_are_filled_up_to_whole_global_batches(real, multiple, fillers):
    pairs = make_pairs(real, multiple)
    assert (len(pairs), pairs.fillers) == (real + fillers, fillers)
    assert all(pairs[index] == {"input_ids": [1], "labels": [IGNORED]} for index in range(real, len(pairs)))


def test_target_tokens_exclude_fillers():
    pairs = make_pairs(3, 8)
    assert pairs.target_tokens == sum(len(pairs[index]["labels"]) for index in range(3))
