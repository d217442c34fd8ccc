import sys

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, BartForConditionalGeneration, T5Config

from summtune.machine.compiling import compiler
from summtune.work.cpu import compiled_passes, library, t5_on_cpu
from summtune.work.cpu.t5_on_cpu import encode_in_parts, quicken
from summtune.work.models.loading import load_model

needs_compiler = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="without a C++ compiler")
SHAPE = {
    "vocab_size": 60,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 3,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}
BATCH = {
    "input_ids": torch.tensor([[5, 6, 7, 8, 9, 1], [7, 9, 1, 0, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]),
    "decoder_input_ids": torch.tensor([[0, 8, 9, 12], [0, 4, 1, 0]]),
    "labels": torch.tensor([[8, 9, 12, 1], [4, 1, -100, -100]]),
}


def made(act="gated-gelu", dropout=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    config = T5Config(**(SHAPE | {"dropout_rate": dropout}), feed_forward_proj=act)
    model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager", dtype=dtype)
    for parameter in model.parameters():  # the ones of the norms and the small numbers elsewhere would hide mistakes
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.train()


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


def ragged_prompts(rows=21):
    lengths = torch.randint(1, 40, (rows,), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(40) < lengths[:, None]).long()
    ids = torch.randint(3, 60, (rows, 40), generator=torch.Generator().manual_seed(2)) * mask
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("left", [False, True], ids=["padded right", "padded left"])
@pytest.mark.parametrize("compiled", [True, False])
def test_encoding_in_parts_generates_what_transformers_generates(beams, left, compiled, monkeypatch):
    prompts = {name: values.flip(1) if left else values for name, values in ragged_prompts().items()}
    wanted = {"max_new_tokens": 12, "num_beams": beams, "output_scores": True, "return_dict_in_generate": True}
    stock = made().eval().generate(**prompts, **wanted)
    quick = made().eval()
    if compiled:
        quicken(quick, print)
    encode_in_parts(quick)
    monkeypatch.setattr(t5_on_cpu, "_TOKENS_AT_ONCE", 100)
    seen = []
    quick.get_encoder().block[0].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2]))
    ours = quick.generate(**prompts, **wanted)
    torch.testing.assert_close(torch.stack(ours.scores), torch.stack(stock.scores), rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.sequences, stock.sequences)
    assert len(seen) > 3, "the encoder got all rows at once"
    assert sum(rows for rows, _ in seen) == 21
    assert all(rows * tokens <= 100 or rows == 1 for rows, tokens in seen)


def test_a_row_of_only_padding_is_encoded():
    model = made().eval()
    quicken(model, print)
    encode_in_parts(model)
    prompts = ragged_prompts(10)
    prompts["attention_mask"][3] = 0
    with torch.inference_mode():
        states = model.get_encoder()(**prompts).last_hidden_state
    assert states.shape == (10, 40, 32)
    assert states.isfinite().all()


def test_a_model_that_trains_evaluates_all_rows_at_once(monkeypatch):
    # Under ZeRO-3 ranks that called the layers more or less often than others would wait for each other for ever.
    model = made().eval()
    quicken(model, print)
    monkeypatch.setattr(t5_on_cpu, "_TOKENS_AT_ONCE", 6)
    seen = []
    model.get_encoder().block[0].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2]))
    with torch.no_grad():
        model(**BATCH)
    assert seen == [(2, 6)]


def test_the_encoder_gets_all_rows_at_once_if_gradients_are_needed(monkeypatch):
    model = made()
    quicken(model, print)
    encode_in_parts(model)
    monkeypatch.setattr(t5_on_cpu, "_TOKENS_AT_ONCE", 6)
    seen = []
    model.get_encoder().block[0].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2]))
    step(model)
    assert seen == [(2, 6)]
