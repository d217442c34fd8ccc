import random

import pytest
import torch
from made_up_pairs import make_pairs

from summtune.work.training.batches import GlobalBatches, share_of


def batches_of(sampler, epoch=0):
    order, size = sampler.order(epoch), sampler.size
    return [order[start : start + size] for start in range(0, len(order), size)]


@pytest.mark.parametrize("group_by_length", [True, False])
def test_an_epoch_is_a_permutation_with_fillers_only_in_its_last_batch(group_by_length):
    sampler = GlobalBatches(make_pairs(45, 8), 8, seed=7, group_by_length=group_by_length)
    for epoch in range(3):
        batches = batches_of(sampler, epoch)
        assert sorted(index for batch in batches for index in batch) == list(range(48))
        assert all(index < 45 for batch in batches[:-1] for index in batch)
        assert sum(index >= 45 for index in batches[-1]) == 3


def test_a_step_has_its_part_of_the_order_of_its_epoch():
    batches = GlobalBatches(make_pairs(20, 4), 4, seed=7, group_by_length=True)
    assert batches.steps_per_epoch == 5
    assert [index for step in range(10, 15) for index in batches[step]] == batches.order(2)
    assert batches[3] == batches.order(0)[12:16]


@pytest.mark.parametrize("group_by_length", [True, False])
def test_the_order_depends_only_on_seed_and_epoch(group_by_length):
    first, again = (GlobalBatches(make_pairs(40, 8), 8, 7, group_by_length) for _ in range(2))
    random.seed(1)
    torch.manual_seed(1)
    assert [first.order(epoch) for epoch in (2, 0, 1)] == [again.order(epoch) for epoch in (2, 0, 1)]
    assert first.order(0) != first.order(1)
    assert first.order(0) != GlobalBatches(make_pairs(40, 8), 8, 8, group_by_length).order(0)


def shares(batches, micro, processes):
    """Return the pairs that all ranks together train on in each step of the first epoch."""
    return [
        sorted(
            index
            for rank in range(processes)
            for micro_batch in share_of(batches[step], micro, rank, processes)
            for index in micro_batch
        )
        for step in range(batches.steps_per_epoch)
    ]


def test_every_layout_gets_the_same_global_batches():
    batches = GlobalBatches(make_pairs(45, 8), 8, seed=7, group_by_length=True)
    layouts = [shares(batches, micro, processes) for micro, processes in [(8, 1), (2, 1), (4, 2), (2, 2), (1, 4)]]
    assert all(layout == layouts[0] for layout in layouts)
    assert layouts[0] == [sorted(batch) for batch in batches_of(batches)]


def test_micro_batches_are_dealt_to_the_ranks_in_turn():
    assert share_of(range(8), 2, 0, 2) == [range(2), range(4, 6)]
    assert share_of(range(8), 2, 1, 2) == [range(2, 4), range(6, 8)]
    assert share_of(range(8), 4, 0, 1) == [range(4), range(4, 8)]


def padded_share(sampler):
    """Return padded tokens over real tokens of the sources."""
    padded = sum(len(batch) * max(sampler.lengths[i] for i in batch) for batch in batches_of(sampler))
    return padded / sum(sampler.lengths)


def test_length_grouping_avoids_most_of_the_padding():
    pairs = make_pairs(400, 8)
    grouped = padded_share(GlobalBatches(pairs, 8, seed=7, group_by_length=True))
    shuffled = padded_share(GlobalBatches(pairs, 8, seed=7, group_by_length=False))
    assert shuffled > 1.8
    assert grouped < 1.08


def test_length_grouping_keeps_the_order_of_the_batches_random():
    sampler = GlobalBatches(make_pairs(400, 8), 8, seed=7, group_by_length=True)
    longest = [max(sampler.lengths[i] for i in batch) for batch in batches_of(sampler)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_only_real_tokens_are_counted():
    pairs = make_pairs(13, 8)
    batches = GlobalBatches(pairs, 8, seed=7, group_by_length=True)
    targets = sum(len(pairs[i]["labels"]) for i in range(13))
    assert sum(batches.target_tokens(batches[step]) for step in (0, 1)) == targets
    prompts = sum(len(pairs[i]["input_ids"]) for i in range(13))
    assert sum(batches.tokens(batches[step]) for step in (0, 1)) == targets + prompts


def reference_order(lengths, real, size, seed, epoch, group_by_length):
    """The order of an epoch, in plain Python, as it was first defined: it may never change."""
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(real))
    rng.shuffle(order)
    if group_by_length:
        for start in range(0, real, size * 50):
            order[start : start + size * 50] = sorted(order[start : start + size * 50], key=lambda i: -lengths[i])
    batches = [order[start : start + size] for start in range(0, real, size)]
    partial = [batches.pop()] if batches and len(batches[-1]) < size else []
    if group_by_length:
        rng.shuffle(batches)
    return [*(index for batch in batches + partial for index in batch), *range(real, len(lengths))]


@pytest.mark.parametrize("group_by_length", [True, False])
@pytest.mark.parametrize(("real", "size"), [(1, 8), (7, 8), (8, 8), (45, 8), (400, 8), (403, 4), (450, 4), (5, 1)])
def test_the_order_is_unchanged_since_the_first_version(real, size, group_by_length):
    pairs = make_pairs(real, size)
    sampler = GlobalBatches(pairs, size, seed=7, group_by_length=group_by_length)
    lengths = [len(pairs[index]["input_ids"]) for index in range(len(pairs))]
    for epoch in (0, 3):
        expected = reference_order(lengths, real, size, 7, epoch, group_by_length)
        assert sampler.order(epoch) == expected
        assert all(type(index) is int for index in sampler.order(epoch))


def test_an_epoch_is_ordered_once(monkeypatch):
    batches = GlobalBatches(make_pairs(45, 8), 8, seed=7, group_by_length=True)
    ordered, shuffle = [], batches._shuffled
    monkeypatch.setattr(batches, "_shuffled", lambda epoch: ordered.append(epoch) or shuffle(epoch))
    assert len([batches[step] for step in range(12)]) == 12
    assert ordered == [0, 1]
