import random

import pytest
import torch
from made_up_pairs import make_pairs

from summtune.work.training.batches import GlobalBatchSampler


def batches_of(sampler, epoch=0):
    order, size = sampler.order(epoch), sampler.global_batch
    return [order[start : start + size] for start in range(0, len(order), size)]


@pytest.mark.parametrize("group_by_length", [True, False])
def test_an_epoch_is_a_permutation_with_fillers_only_in_its_last_batch(group_by_length):
    sampler = GlobalBatchSampler(make_pairs(45, 8), 8, seed=7, group_by_length=group_by_length)
    for epoch in range(3):
        batches = batches_of(sampler, epoch)
        assert sorted(index for batch in batches for index in batch) == list(range(48))
        assert all(index < 45 for batch in batches[:-1] for index in batch)
        assert sum(index >= 45 for index in batches[-1]) == 3


def test_the_sampler_yields_the_order_of_its_epoch():
    sampler = GlobalBatchSampler(make_pairs(20, 4), 4, seed=7, group_by_length=True)
    sampler.set_epoch(2)
    assert list(sampler) == sampler.order(2)
    assert len(sampler) == 20


@pytest.mark.parametrize("group_by_length", [True, False])
def test_the_order_depends_only_on_seed_and_epoch(group_by_length):
    first, again = (GlobalBatchSampler(make_pairs(40, 8), 8, 7, group_by_length) for _ in range(2))
    random.seed(1)
    torch.manual_seed(1)
    assert [first.order(epoch) for epoch in (2, 0, 1)] == [again.order(epoch) for epoch in (2, 0, 1)]
    assert first.order(0) != first.order(1)
    assert first.order(0) != GlobalBatchSampler(make_pairs(40, 8), 8, 8, group_by_length).order(0)


def shares(sampler, micro, processes):
    """Return the global batches as accelerate deals them out: micro batch after micro batch, round robin."""
    order = sampler.order(0)
    micros = [order[start : start + micro] for start in range(0, len(order), micro)]
    steps = len(order) // sampler.global_batch
    accumulation = sampler.global_batch // micro // processes
    dealt = [micros[rank::processes] for rank in range(processes)]
    return [
        sorted(
            index
            for rank in range(processes)
            for batch in dealt[rank][step * accumulation : (step + 1) * accumulation]
            for index in batch
        )
        for step in range(steps)
    ]


def test_every_layout_gets_the_same_global_batches():
    sampler = GlobalBatchSampler(make_pairs(45, 8), 8, seed=7, group_by_length=True)
    layouts = [shares(sampler, micro, processes) for micro, processes in [(8, 1), (2, 1), (4, 2), (2, 2), (1, 4)]]
    assert all(layout == layouts[0] for layout in layouts)
    assert layouts[0] == [sorted(batch) for batch in batches_of(sampler)]


def padded_share(sampler):
    """Return padded tokens over real tokens of the sources."""
    padded = sum(len(batch) * max(sampler.lengths[i] for i in batch) for batch in batches_of(sampler))
    return padded / sum(sampler.lengths)


def test_length_grouping_avoids_most_of_the_padding():
    pairs = make_pairs(400, 8)
    grouped = padded_share(GlobalBatchSampler(pairs, 8, seed=7, group_by_length=True))
    shuffled = padded_share(GlobalBatchSampler(pairs, 8, seed=7, group_by_length=False))
    assert shuffled > 1.8
    assert grouped < 1.08


def test_length_grouping_keeps_the_order_of_the_batches_random():
    sampler = GlobalBatchSampler(make_pairs(400, 8), 8, seed=7, group_by_length=True)
    longest = [max(sampler.lengths[i] for i in batch) for batch in batches_of(sampler)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_tokens_of_steps_count_real_tokens_over_epochs():
    pairs = make_pairs(13, 8)
    sampler = GlobalBatchSampler(pairs, 8, seed=7, group_by_length=True)
    whole = sum(len(pairs[i]["input_ids"]) + len(pairs[i]["labels"]) for i in range(13))
    assert sampler.tokens_of_steps(0, 2) == whole
    assert sampler.tokens_of_steps(0, 1) + sampler.tokens_of_steps(1, 4) == 2 * whole
    assert sampler.tokens_of_steps(2, 2) == 0


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
    sampler = GlobalBatchSampler(pairs, size, seed=7, group_by_length=group_by_length)
    lengths = [len(pairs[index]["input_ids"]) for index in range(len(pairs))]
    for epoch in (0, 3):
        expected = reference_order(lengths, real, size, 7, epoch, group_by_length)
        assert sampler.order(epoch) == expected
        assert all(type(index) is int for index in sampler.order(epoch))


def test_tokens_of_steps_order_an_epoch_once(monkeypatch):
    sampler = GlobalBatchSampler(make_pairs(45, 8), 8, seed=7, group_by_length=True)
    expected = [sum(sampler.tokens[i] for i in batch) for epoch in (0, 1) for batch in batches_of(sampler, epoch)]
    ordered = []
    original = sampler.order
    monkeypatch.setattr(sampler, "order", lambda epoch: ordered.append(epoch) or original(epoch))
    assert [sampler.tokens_of_steps(step, step + 1) for step in range(12)] == expected
    assert ordered == [0, 1]
