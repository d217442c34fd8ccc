import pytest
import torch

from summtune.work.cpu.drop import Drop, draw


def test_a_probability_is_rounded_and_the_scale_corrects_for_it():
    assert Drop(1, 0.1).rounded(15) == (3277, 2**15 / (2**15 - 3277))
    assert Drop(1, 0.25).rounded(24) == (2**22, pytest.approx(4 / 3))


def test_not_everything_is_dropped():
    assert Drop(1, 0.999999).rounded(4) == (15, 16.0)


def test_the_seed_comes_from_torchs_generator():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append([draw(0.5) for _ in range(2)])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]
    assert drawn[0][0] != drawn[2][0]


def test_no_random_number_is_drawn_without_dropout():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert draw(0.0) is None
    assert torch.equal(torch.get_rng_state(), before)
