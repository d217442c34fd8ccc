import platform

import pytest
import torch
from torch import nn

from summtune.work.cpu import products
from summtune.work.cpu.products import multiply_with_onednn

needs_onednn = pytest.mark.skipif(
    platform.machine() != "x86_64" or not torch.backends.mkldnn.is_available(), reason="oneDNN is for x86-64 alone"
)
AMD = "vendor_id : AuthenticAMD\nflags : fpu avx512f avx512_bf16 sse\n"


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Let the machine have the processor that a text describes."""

    def pretend(about):
        path = tmp_path / "cpuinfo"
        if about is not None:
            path.write_text(about)
        monkeypatch.setattr(products, "_PROCESSOR", path)
        products._mkl_is_slow.cache_clear()

    yield pretend
    products._mkl_is_slow.cache_clear()


def layers():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 7, bias=False))


def gradients(model, values):
    values = values.clone().requires_grad_()
    model(values).square().sum().backward()
    return [values.grad, *(weight.grad for weight in model.parameters() if weight.requires_grad)]


@needs_onednn
@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("shape", [(1, 24), (3, 5, 24), (0, 24), (300, 24)])
def test_products_and_gradients_are_those_of_torch(shape, frozen, processor):
    processor(AMD)
    plain, ours = layers(), layers()
    for model in (plain, ours):
        model[0].requires_grad_(not frozen)
    multiply_with_onednn(ours)
    values = torch.randn(shape)
    torch.testing.assert_close(ours(values), plain(values), rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(ours, values), gradients(plain, values), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_the_inputs_of_a_frozen_layer_are_not_kept(processor):
    processor(AMD)
    model = layers()[0].requires_grad_(False)
    multiply_with_onednn(model)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape) or tensor, lambda t: t):
        model(torch.randn(5, 24, requires_grad=True))
    assert kept == [(40, 24)]


@needs_onednn
@pytest.mark.parametrize("shape", [(24,), (5, 24), (2, 5, 24)])
def test_the_result_can_be_changed_in_place(shape, processor):
    processor(AMD)
    plain, ours = layers(), layers()
    multiply_with_onednn(ours)
    values, results = torch.randn(shape), []
    for model in (plain, ours):
        product = model[0](values)
        product /= 3
        product.sum().backward()
        results.append(model[0].weight.grad)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_autocast_computes_as_before(processor):
    processor(AMD)
    plain, ours = layers(), layers()
    multiply_with_onednn(ours)
    values = torch.randn(5, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(values).dtype == torch.bfloat16
        assert torch.equal(ours(values), plain(values))


@pytest.mark.parametrize(
    "about", ["vendor_id : GenuineIntel\nflags : fpu avx512f sse\n", AMD.replace("avx512f ", ""), None]
)
def test_layers_stay_as_they_are_where_mkl_is_as_fast(about, processor):
    processor(about)
    model = layers()
    multiply_with_onednn(model)
    assert not any("forward" in vars(layer) for layer in model)
