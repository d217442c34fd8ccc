import sys

import pytest
import torch
from torch.nn import functional

from summtune.machine.compiling import compiler
from summtune.work.cpu import compiled_passes
from summtune.work.cpu import kernels as cpu_kernels
from summtune.work.cpu.drop import Drop

pytestmark = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="without a C++ compiler")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


def gradients(function, *inputs):
    """Return what a function gives and the gradients of a fixed random sum of it."""
    leaves = [one.clone().requires_grad_() if torch.is_floating_point(one) else one for one in inputs]
    result = function(*leaves)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    (result.float() * weights).sum().backward()
    return result.detach(), [one.grad for one in leaves if one.requires_grad]


def check_like(ours, reference, *inputs, **tolerance):
    result, ours_gradients = gradients(ours, *inputs)
    expected, expected_gradients = gradients(reference, *inputs)
    torch.testing.assert_close(result, expected, **tolerance)
    assert len(ours_gradients) == len(expected_gradients)
    for got, wanted in zip(ours_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(got, wanted, **tolerance)


def test_dropout_of_an_empty_tensor_is_empty():
    assert cpu_kernels.dropout(torch.ones(0, 4), 0.1).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("to", [torch.float32, torch.bfloat16])
def test_dropout_scales_kept_elements_and_their_gradient(dtype, to):
    values = torch.rand(50, 31).add_(1).to(dtype).requires_grad_()
    result = cpu_kernels.dropout(values, 0.25, to)
    assert result.dtype == to
    kept = result != 0
    assert 0.6 < kept.float().mean() < 0.9
    scaled = (values.detach().to(to).double() * 4 / 3).to(to)
    torch.testing.assert_close(result[kept], scaled[kept], rtol=1e-2 if to == torch.bfloat16 else 1e-5, atol=0)
    result.backward(torch.ones_like(result))
    expected = kept.double() * 4 / 3
    torch.testing.assert_close(values.grad.double(), expected, rtol=4e-3, atol=0)
    assert values.grad.dtype == dtype


def test_dropout_of_a_non_contiguous_tensor_keeps_positions():
    values = torch.arange(1.0, 13.0).view(3, 4).t()
    result = cpu_kernels.dropout(values, 0.5)
    kept = result != 0
    assert torch.equal(result[kept], (values * 2)[kept])


def test_the_norm_is_that_of_transformers():
    def reference(values, weight):
        return weight * (values * torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + 1e-6))

    def ours(values, weight):
        return cpu_kernels.rms_norm(values, weight, 1e-6, torch.float32)

    check_like(ours, reference, torch.randn(2, 5, 16), torch.rand(16) + 0.5, rtol=1e-4, atol=1e-5)


def test_the_norm_returns_the_requested_type_and_gradients_of_the_inputs_types():
    values = torch.randn(3, 8).bfloat16().requires_grad_()
    weight = torch.rand(8).requires_grad_()
    result = cpu_kernels.rms_norm(values, weight, 1e-6, torch.bfloat16)
    result.sum().backward()
    assert (result.dtype, values.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_attention_is_softmax_of_products_and_bias(masked, biased):
    mask = torch.zeros(2, 1, 1, 7)
    mask[1, ..., 4:] = torch.finfo(torch.float32).min
    mask = mask if masked else None

    def reference(query, key, value, bias):
        scores = query @ key.transpose(-1, -2) + (bias if biased else bias * 0)
        return torch.softmax(scores + mask if masked else scores, -1) @ value

    def ours(query, key, value, bias):
        result = cpu_kernels.attention(query, key, value, bias if biased else None, mask, 0.0)
        return result if biased else result + bias.sum() * 0

    inputs = [torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8), torch.randn(1, 3, 5, 7)]
    check_like(ours, reference, *inputs, rtol=1e-4, atol=1e-5)


def test_attention_with_dropout_has_the_gradient_of_what_it_computed(monkeypatch):
    inputs = [torch.randn(2, 2, 4, 8), torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8), torch.randn(1, 2, 4, 6)]
    monkeypatch.setattr(cpu_kernels, "draw", lambda probability: Drop(11, probability))
    multiplied = compiled_passes.dropout(torch.ones(2, 2, 4, 6), Drop(11, 0.3), torch.float32)  # of the same places
    assert 0 < (multiplied == 0).sum() < multiplied.numel()

    def reference(query, key, value, bias):
        return (torch.softmax(query @ key.transpose(-1, -2) + bias, -1) * multiplied) @ value

    def ours(query, key, value, bias):
        return cpu_kernels.attention(query, key, value, bias, None, 0.3)

    check_like(ours, reference, *inputs, rtol=1e-4, atol=1e-5)


def test_the_mask_can_differ_between_queries():
    mask = torch.full((2, 1, 4, 6), torch.finfo(torch.float32).min).triu(1)
    mask[1, :, :, :2] = torch.finfo(torch.float32).min

    def reference(query, key, value):
        return torch.softmax(query @ key.transpose(-1, -2) + mask, -1) @ value

    inputs = [torch.randn(2, 3, 4, 8), torch.randn(2, 3, 6, 8), torch.randn(2, 3, 6, 8)]
    check_like(lambda *given: cpu_kernels.attention(*given, None, mask, 0.0), reference, *inputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_the_gated_layer_is_gelu_times_the_other_with_dropout(probability, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "draw", lambda wanted: Drop(7, wanted) if wanted else None)
    gate, linear = torch.randn(6, 300).mul_(3), torch.randn(6, 300)
    multiplied = compiled_passes.dropout(torch.ones(6, 300), Drop(7, 0.4), torch.float32) if probability else 1.0
    check_like(
        lambda gate, linear: cpu_kernels.gated_gelu(gate, linear, probability),
        lambda gate, linear: functional.gelu(gate, approximate="tanh") * linear * multiplied,
        *(gate, linear),
        rtol=1e-4,
        atol=1e-5,
    )


def test_in_bf16_the_gated_layer_and_its_gradients_are_rounded_once_or_twice():
    inputs = [torch.randn(4, 200).mul_(2), torch.randn(4, 200)]
    exact, exact_gradients = gradients(lambda *given: cpu_kernels.gated_gelu(*given, 0.0), *inputs)
    narrow = [one.bfloat16() for one in inputs]
    result, narrow_gradients = gradients(lambda *given: cpu_kernels.gated_gelu(*given, 0.0), *narrow)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), exact, rtol=0.03, atol=0.03)
    for got, wanted in zip(narrow_gradients, exact_gradients, strict=True):
        torch.testing.assert_close(got.float(), wanted, rtol=0.03, atol=0.03)


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 7), (6, 2), (1, 1), (1, 4)])
def test_a_toeplitz_matrix_is_built_from_its_diagonals(queries, keys):
    diagonals = torch.randn(2, queries + keys - 1)

    def reference(diagonals):
        places = torch.arange(keys)[None] - torch.arange(queries)[:, None] + queries - 1
        return diagonals[:, places]

    check_like(lambda given: cpu_kernels.from_diagonals(given, queries, keys), reference, diagonals)
