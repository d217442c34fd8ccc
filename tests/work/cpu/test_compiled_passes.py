"""The compiled passes compute the same as torch's operations."""

import sys

import pytest
import torch
from torch.nn import functional

from summtune.machine.compiling import compiler
from summtune.work.cpu import compiled_passes
from summtune.work.cpu.drop import Drop

pytestmark = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="without a C++ compiler")
TYPES = [torch.float32, torch.bfloat16]
CLOSE = {torch.float32: {"rtol": 2e-5, "atol": 2e-6}, torch.bfloat16: {"rtol": 1e-2, "atol": 1e-3}}
MASK = torch.zeros(5, 1, 1, 67)
MASK[3, ..., 20:] = torch.finfo(torch.float32).min


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(4)


def close(got, wanted, dtype, **tolerance):
    """Compare with a result in fp64: bf16 rounds to 8 bits."""
    torch.testing.assert_close(got.double(), wanted.double(), **(CLOSE[dtype] | tolerance))


def gradients(function, gradient, *inputs):
    """Return what a function gives in fp64, and the gradients of its inputs."""
    leaves = [one.double().requires_grad_() for one in inputs]
    result = function(*leaves)
    return result.detach(), torch.autograd.grad(result, leaves, gradient.double())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 3, 64, 130])
def test_the_norm_and_its_gradients_equal_torchs(dtype, rows):
    values, weight = torch.randn(rows, 2, 77).to(dtype) * 3, torch.rand(77) + 0.5
    gradient = torch.randn(rows, 2, 77).to(dtype)

    def norm(values, weight):
        return weight * values * (values.square().mean(-1, keepdim=True) + 1e-6).rsqrt()

    exact, (of_values, of_weight) = gradients(norm, gradient, values, weight)
    for wanted in TYPES:
        normed, inverse = compiled_passes.rms_norm(values, weight, 1e-6, wanted)
        assert normed.dtype == wanted
        close(normed, exact, wanted)
        close(inverse, (values.double().square().mean(-1, keepdim=True) + 1e-6).rsqrt(), torch.float32)
    got_values, got_weight = compiled_passes.rms_norm_gradient(gradient, values, weight, inverse)
    assert (got_values.dtype, got_weight.dtype) == (dtype, weight.dtype)
    close(got_values, of_values, dtype, atol=1e-5 if dtype == torch.float32 else 1e-2)
    close(got_weight, of_weight, torch.float32, atol=1e-4)


def softmax(scores, bias=None, mask=None):
    """Return the shares in the type of the scores."""
    for added in (bias, mask):
        scores = scores if added is None else scores + added
    return scores.softmax(-1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("queries", [1, 67])
@pytest.mark.parametrize("mask", [None, MASK, MASK.expand(5, 1, 67, 67), MASK[3:4]], ids=["none", "row", "full", "one"])
@pytest.mark.parametrize("biased", [True, False])
def test_the_softmax_and_its_gradients_equal_torchs(dtype, queries, mask, biased):
    mask = None if mask is None else mask[:, :, :queries]
    scores, bias = torch.randn(5, 3, queries, 67).mul_(4).to(dtype), torch.randn(1, 3, queries, 67) * biased
    gradient = torch.randn_like(scores)
    exact, (of_scores, of_bias) = gradients(lambda scores, bias: softmax(scores, bias, mask), gradient, scores, bias)
    shares, used = compiled_passes.softmax(scores, bias if biased else None, mask, None)
    assert shares is used
    close(shares, exact, dtype)
    got_scores, same, got_bias = compiled_passes.softmax_gradient(gradient, shares, None, biased)
    assert torch.equal(same, shares)
    rounded = {} if dtype == torch.float32 else {"atol": 2e-2}  # of the shares
    close(got_scores, of_scores, dtype, **rounded)
    assert biased or got_bias is None
    if biased:
        assert got_bias.dtype == torch.float32
        close(got_bias, of_bias, dtype, **rounded)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("features", [8, 64, 67])
@pytest.mark.parametrize("mask", [None, MASK, MASK.flip(-1), MASK[3:4]], ids=["none", "right", "left", "one"])
@pytest.mark.parametrize("biased", [True, False])
def test_the_attention_of_a_new_token_equals_torchs(dtype, features, mask, biased):
    query, (key, value) = torch.randn(5, 3, 1, features).div(4).to(dtype), torch.randn(2, 5, 3, 67, features).to(dtype)
    bias = torch.randn(1, 3, 1, 67) if biased else None
    got = compiled_passes.decode_attention(query, key, value, bias, mask)
    wide = query.double(), key.double(), value.double()
    close(got, softmax(wide[0] @ wide[1].transpose(-1, -2), bias, mask) @ wide[2], dtype)


def test_keys_after_the_last_unmasked_one_are_not_read():
    query, key, value = torch.randn(5, 3, 1, 8), torch.randn(5, 3, 30, 8), torch.randn(5, 3, 30, 8)
    mask = torch.zeros(1, 1, 1, 30)
    mask[..., 20:] = torch.finfo(torch.float32).min
    expected = compiled_passes.decode_attention(query, key, value, None, mask)
    key[:, :, 20:] = value[:, :, 20:] = float("nan")
    assert torch.equal(compiled_passes.decode_attention(query, key, value, None, mask), expected)


def test_a_fully_masked_row_has_finite_attention():
    query, key, value = torch.randn(2, 3, 1, 8), torch.randn(2, 3, 30, 8), torch.randn(2, 3, 30, 8)
    mask = torch.full((2, 1, 1, 30), torch.finfo(torch.float32).min)
    assert compiled_passes.decode_attention(query, key, value, None, mask).isfinite().all()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_gradient_of_dropped_shares_equals_torchs(dtype):
    scores, drop = torch.randn(3, 2, 9, 11).to(dtype), Drop(8, 0.25)
    shares, used = compiled_passes.softmax(scores, None, None, drop)
    close(shares.abs(), softmax(scores.double()), dtype)
    kept = (shares > 0).double() * 4 / 3
    assert 0.1 < (kept == 0).double().mean() < 0.4
    close(used, shares * kept, dtype, rtol=1e-2)
    gradient = torch.randn_like(scores)
    _, (of_scores,) = gradients(lambda scores: softmax(scores) * kept, gradient, scores)
    got, same, of_bias = compiled_passes.softmax_gradient(gradient, shares, drop, True)
    rounded = {} if dtype == torch.float32 else {"atol": 2e-2}
    close(got, of_scores, dtype, **rounded)
    close(of_bias, of_scores.sum(0, keepdim=True), dtype, **rounded)
    close(same, used, dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_gated_gelu_and_its_gradients_equal_torchs(dtype):
    gate = torch.cat([torch.randn(30_000) * 3, torch.tensor([-200.0, -80.0, 0.0, 80.0, 200.0])]).to(dtype)
    linear, gradient = torch.randn_like(gate), torch.randn_like(gate)
    exact, wanted = gradients(
        lambda gate, linear: functional.gelu(gate, approximate="tanh") * linear, gradient, gate, linear
    )
    tolerance = {"rtol": 1e-2 if dtype == torch.bfloat16 else 1e-4, "atol": 1e-5}
    close(compiled_passes.gated_gelu(gate, linear, None), exact, dtype, **tolerance)
    for got, one in zip(compiled_passes.gated_gelu_gradient(gradient, gate, linear, None), wanted, strict=True):
        close(got, one, dtype, **tolerance)


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.97])
def test_the_share_of_dropped_elements_is_the_probability(probability):
    result = compiled_passes.dropout(torch.ones(200_003), Drop(5, probability), torch.float32)
    deviation = (probability * (1 - probability) / len(result)) ** 0.5
    assert (result == 0).double().mean().item() == pytest.approx(probability, abs=4 * deviation)
    torch.testing.assert_close(result[result > 0], torch.full_like(result[result > 0], 1 / (1 - probability)))


def test_neighbours_and_seeds_are_dropped_independently():
    masks = [
        compiled_passes.dropout(torch.ones(400_000), Drop(seed, 0.1), torch.float32) == 0 for seed in (1, 2, 2**40)
    ]
    deviation = (0.01 * 0.99 / len(masks[0])) ** 0.5
    pairs = [(masks[0][:-distance], masks[0][distance:]) for distance in (1, 2, 3, 4, 64, 211, 1024)]
    for one, other in [*pairs, (masks[0], masks[1]), (masks[0], masks[2])]:
        assert (one & other).double().mean().item() == pytest.approx(0.01, abs=4 * deviation)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inf_and_nan_stay_inf_and_nan(dtype, bad):
    values = torch.randn(2, 2, 3, 40).to(dtype)
    values[1, 1, 2, 3] = bad
    flat = values.view(12, 40)
    found = [
        compiled_passes.softmax(values, None, None, Drop(1, 0.1))[0].view(12, 40)[11],
        compiled_passes.rms_norm(flat, torch.ones(40), 1e-6, dtype)[0][11],
        compiled_passes.gated_gelu(flat, torch.ones_like(flat), None)[11],
    ]
    assert [bool(one.isfinite().all()) for one in found] == [False] * 3
    kept = compiled_passes.dropout(values, Drop(1, 0.01), torch.bfloat16)
    assert not kept[1, 1, 2, 3].isfinite()


def test_rounding_equals_torchs():
    values = torch.cat([torch.randn(10_000), torch.tensor([1.00390625, 1.01171875, -1.00390625, 3.4e38, 1e-40])])
    kept = compiled_passes.dropout(values, Drop(1, 1e-9), torch.bfloat16)
    assert torch.equal(kept, values.bfloat16())


def test_results_do_not_depend_on_the_number_of_threads():
    values, weight = torch.randn(300, 512), torch.rand(512)
    scores = torch.randn(4, 3, 50, 60)
    gate, linear, gradient = torch.randn(3, 40_007)  # more than one thread takes, and no whole number of vectors

    def compute():
        normed, inverse = compiled_passes.rms_norm(values, weight, 1e-6, torch.float32)
        shares, used = compiled_passes.softmax(scores, None, None, Drop(2, 0.1))
        return [
            *compiled_passes.rms_norm_gradient(normed, values, weight, inverse),
            *compiled_passes.softmax_gradient(used, shares, Drop(2, 0.1), True),
            compiled_passes.dropout(gate, Drop(3, 0.1), torch.bfloat16),
            compiled_passes.gated_gelu(gate, linear, Drop(4, 0.1)),
            *compiled_passes.gated_gelu_gradient(gradient, gate, linear, Drop(4, 0.1)),
        ]

    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(compute())
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_other_types_than_fp32_and_bf16_are_not_taken():
    assert [compiled_passes.can_take(dtype) for dtype in (*TYPES, torch.float16)] == [True, True, False]
