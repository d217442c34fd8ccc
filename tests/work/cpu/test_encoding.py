import pytest
import torch
from small_t5 import BATCH, made, ragged_prompts

from summtune.work import cpu
from summtune.work.cpu import encoding
from summtune.work.cpu.encoding import encode_in_parts
from summtune.work.cpu.t5_on_cpu import quicken


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
    monkeypatch.setattr(encoding, "_TOKENS_AT_ONCE", 100)
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
    cpu.quicken(model, "training", print)
    monkeypatch.setattr(encoding, "_TOKENS_AT_ONCE", 6)
    seen = []
    model.get_encoder().block[0].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2]))
    with torch.no_grad():
        model(**BATCH)
    assert seen == [(2, 6)]


def test_the_encoder_gets_all_rows_at_once_if_gradients_are_needed(monkeypatch):
    model = made()
    quicken(model, print)
    encode_in_parts(model)
    monkeypatch.setattr(encoding, "_TOKENS_AT_ONCE", 6)
    seen = []
    model.get_encoder().block[0].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2]))
    model(**BATCH).loss.backward()
    assert seen == [(2, 6)]
