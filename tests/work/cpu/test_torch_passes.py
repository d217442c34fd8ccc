import pytest
import torch

from summtune.work.cpu import torch_passes
from summtune.work.cpu.passes import Drop
from summtune.work.cpu.torch_passes import keep_mask


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.97])
def test_the_share_of_dropped_elements_is_the_probability(probability):
    kept, scale = keep_mask(200_003, Drop(5, probability))
    assert kept.dtype == torch.int16
    assert set(kept.unique().tolist()) == {-1, 0}
    deviation = (probability * (1 - probability) / len(kept)) ** 0.5
    assert (kept == 0).double().mean().item() == pytest.approx(probability, abs=4 * deviation)
    assert scale == pytest.approx(1 / (1 - probability), rel=1e-3)


def test_neighbours_are_dropped_independently():
    kept = keep_mask(400_000, Drop(5, 0.1))[0] == -1
    for distance in (1, 2, 3, 4, 64, 1024):
        both = (~kept[:-distance] & ~kept[distance:]).double().mean().item()
        assert both == pytest.approx(0.01, abs=4 * (0.01 * 0.99 / len(kept)) ** 0.5)


def test_the_seed_determines_what_is_kept():
    first, again, other = (keep_mask(1000, Drop(seed, 0.5))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shares_are_negative_where_they_are_dropped(dtype):
    scores, drop = torch.randn(2, 3, 4, 5).to(dtype), Drop(3, 0.5)
    shares, used = torch_passes.softmax(scores, None, None, drop)
    torch.testing.assert_close(shares.abs(), torch.softmax(scores.float(), -1).to(dtype))
    assert torch.equal(used == 0, shares < 0)
    torch.testing.assert_close(used[used > 0], 2 * shares[shares > 0], rtol=1e-2, atol=0)
