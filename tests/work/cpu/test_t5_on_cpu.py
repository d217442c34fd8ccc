import sys

import pytest
import torch
from small_t5 import BATCH, SHAPE, made, ragged_prompts
from transformers import BartConfig, BartForConditionalGeneration

from summtune.machine.compiling import compiler
from summtune.work.cpu import compiled_passes, library
from summtune.work.cpu.t5_on_cpu import quicken
from summtune.work.models.loading import load_model

needs_compiler = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="without a C++ compiler")


def step(model, bf16=False):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(**BATCH).loss
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("act", ["gated-gelu", "relu", "gated-silu"])
def test_loss_and_gradients_are_those_of_transformers(act):
    loss, gradients = step(made(act))
    quick = made(act)
    quicken(quick, print)
    quick_loss, quick_gradients = step(quick)
    assert quick_loss == pytest.approx(loss, rel=1e-6)
    assert quick_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(quick_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_bf16_is_as_close_to_fp32_as_in_transformers():
    _, exact = step(made())
    loss, stock = step(made(), bf16=True)
    quick_model = made()
    quicken(quick_model, print)
    quick_loss, quick = step(quick_model, bf16=True)
    assert quick_loss == pytest.approx(loss, abs=1e-2)

    def error(gradients):
        return sum((gradients[name] - exact[name]).square().sum().item() for name in exact) ** 0.5

    assert 0 < error(quick) < 1.5 * error(stock)
    assert all(gradient.dtype == torch.float32 for gradient in quick.values())


@pytest.mark.parametrize("bf16", [False, True])
def test_dropout_acts_in_training_and_not_in_evaluation(bf16):
    model = made(dropout=0.3)
    quicken(model, print)
    torch.manual_seed(1)
    losses = [step(model, bf16)[0] for _ in range(3)]
    assert len(set(losses)) == 3
    torch.manual_seed(1)
    assert step(model, bf16)[0] == losses[0]
    stock = made(dropout=0.3).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(**BATCH).logits, stock(**BATCH).logits, rtol=1e-4, atol=1e-5)


def test_the_mean_loss_under_dropout_is_that_of_transformers():
    quick = made(dropout=0.3)
    quicken(quick, print)
    stock = made(dropout=0.3)
    torch.manual_seed(2)
    with torch.no_grad():
        drawn = torch.tensor([[model(**BATCH).loss.item() for _ in range(300)] for model in (quick, stock)])
    deviation = (drawn.var(1).sum() / 300).sqrt()
    assert abs(drawn[0].mean() - drawn[1].mean()) < 4 * deviation
    assert drawn[0].std() == pytest.approx(drawn[1].std().item(), rel=0.25)


@pytest.mark.parametrize("later", [True, False])
def test_weights_in_bf16_stay_in_bf16(later):
    model = made(dropout=0.1, dtype=torch.float32 if later else torch.bfloat16)
    quicken(model, print)
    step(model.bfloat16())  # as DeepSpeed does
    assert {parameter.grad.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_generation_is_unchanged(beams, dtype):
    quick, stock = made(dtype=dtype).eval(), made(dtype=dtype).eval()
    quicken(quick, print)
    inputs = {key: BATCH[key] for key in ("input_ids", "attention_mask")}
    settings = {"max_new_tokens": 30, "min_new_tokens": 30, "do_sample": False, "num_beams": beams}
    outputs = [model.generate(**inputs, **settings) for model in (quick, stock)]
    assert outputs[0].shape == (2, 31)
    # In bf16 both round, and here and there another token wins.
    same = (outputs[0] == outputs[1]).float().mean()
    assert same == 1 if dtype == torch.float32 else same > 0.3


@needs_compiler
def test_each_new_token_uses_the_attention_for_one(monkeypatch):
    model, calls = made().eval(), []
    quicken(model, print)
    one = compiled_passes.decode_attention
    monkeypatch.setattr(compiled_passes, "decode_attention", lambda *given: calls.append(given[0].shape) or one(*given))
    model.generate(**ragged_prompts(4), max_new_tokens=5, min_new_tokens=5)
    assert calls == [(4, 3, 1, 8)] * (5 * 2 * SHAPE["num_layers"])  # to itself and to the dialogue


def test_a_single_target_token_has_gradients():
    model = made()
    quicken(model, print)
    model(input_ids=BATCH["input_ids"], labels=torch.tensor([[7], [9]])).loss.backward()
    attention = model.get_decoder().block[0].layer[1].EncDecAttention
    assert attention.k.weight.grad.abs().sum() > 0


def test_the_saved_model_is_the_same(tmp_path, checkpoint):
    model = load_model(checkpoint, torch.float32)
    names = set(model.state_dict())
    quicken(model, print)
    assert set(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    assert "summtune" not in (tmp_path / "config.json").read_text()


def changes(model):
    """Return what differs from a model as transformers makes it."""
    own = {name: vars(module).keys() & {"forward", "compute_bias"} for name, module in model.named_modules()}
    return {name for name, methods in own.items() if methods}, model.config._attn_implementation


def test_without_a_compiler_a_t5_is_not_changed_and_the_reason_is_reported(monkeypatch):
    monkeypatch.setattr(library, "why_not", lambda: "no C++ compiler; install g++")
    model, said = made(), []
    before = changes(model)
    quicken(model, said.append)
    assert changes(model) == before == (set(), "eager")
    (reason,) = said
    assert "transformers' own modules" in reason
    assert "(got no C++ compiler; install g++)" in reason


def test_a_t5_of_another_type_than_the_passes_take_is_not_changed():
    model = made(dtype=torch.float16)
    quicken(model, pytest.fail)
    assert changes(model) == (set(), "eager")


def test_other_models_are_not_changed():
    config = BartConfig(vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16)
    model = BartForConditionalGeneration(config)
    before = model.config._attn_implementation
    quicken(model, print)
    assert model.config._attn_implementation == before
