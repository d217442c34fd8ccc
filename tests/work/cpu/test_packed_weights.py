import platform
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
)

from summtune.work.cpu import packed_weights
from summtune.work.cpu.packed_weights import pack_weights
from summtune.work.models.loading import load_model

needs_onednn = pytest.mark.skipif(
    platform.machine() != "x86_64" or not torch.backends.mkldnn.is_available(), reason="packs for x86-64 alone"
)


BART = BartConfig(vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16)


def layers():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 7, bias=False)).eval()


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 24), (32, 24), (3, 5, 24), (0, 24), (700, 24)])
def test_packed_products_are_the_same(shape):
    plain, packed = layers(), layers()
    pack_weights(packed)
    assert [layer.weight.is_mkldnn for layer in packed if isinstance(layer, nn.Linear)] == [True, True]
    values = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(packed(values), plain(values), rtol=1e-5, atol=1e-5)
        turned = torch.randn(shape[-1], *shape[:-1]).movedim(0, -1)
        torch.testing.assert_close(packed(turned), plain(turned), rtol=1e-5, atol=1e-5)


SMALL = {
    "vocab_size": 60,
    "d_model": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_layers": 2,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "attention_window": 8,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}


def made(kind):
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **SMALL)
    maker = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = maker.from_config(config).eval()
    for parameter in model.parameters():  # the small numbers of a new model would all write one token
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return model


@needs_onednn
@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize(
    "kind", ["t5", "mt5", "longt5", "bart", "mbart", "pegasus", "marian", "led", "m2m_100", "llama", "gpt2", "qwen2"]
)
def test_packed_models_of_every_kind_write_the_same_texts(kind, beams):
    plain, packed = made(kind), made(kind)
    pack_weights(packed)
    layers = [module for module in packed.modules() if type(module) is nn.Linear]
    assert layers
    assert all(layer.weight.is_mkldnn for layer in layers)
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, :4] = 0  # causal models are padded on the left
    given = {"input_ids": torch.randint(2, 60, (3, 9)) * mask, "attention_mask": mask, "num_beams": beams}
    # Without repetition a text depends on the order of many logits, not only on the largest.
    wanted = {"max_new_tokens": 12, "min_new_tokens": 12, "no_repeat_ngram_size": 1}
    with torch.inference_mode():
        texts = [model.generate(**given, **wanted) for model in (plain, packed)]
    assert len(texts[0].unique()) > 12
    assert torch.equal(*texts)


@needs_onednn
def test_an_embedding_tied_to_an_output_layer_is_not_packed():
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BART).eval()
    assert model.lm_head.weight is model.get_input_embeddings().weight
    given = {"input_ids": torch.tensor([[5, 6, 7, 2]]), "decoder_input_ids": torch.tensor([[2, 8]])}
    with torch.inference_mode():
        before = model(**given).logits
        pack_weights(model)
        torch.testing.assert_close(model(**given).logits, before, rtol=1e-5, atol=1e-5)
    assert model.lm_head.weight.is_mkldnn
    assert not model.get_input_embeddings().weight.is_mkldnn


@needs_onednn
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("which", ["t5", "bart"])
def test_packing_releases_the_mapped_weight_file(which, checkpoint, tmp_path):
    folder = tmp_path / "model"
    if which == "t5":
        shutil.copytree(checkpoint, folder)
    else:  # which has a buffer in its file
        BartForConditionalGeneration(BART).save_pretrained(folder)

    def mapped():
        return str(folder) in Path("/proc/self/maps").read_text()

    model = load_model(folder, torch.float32)
    names = set(model.state_dict())
    assert mapped()
    pack_weights(model)
    assert not mapped()
    assert set(model.state_dict()) == names


def test_without_onednn_nothing_is_packed(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = layers()
    pack_weights(model)
    assert not model[0].weight.is_mkldnn


@pytest.mark.parametrize(
    ("dtype", "machine", "bf16"),
    [(torch.float32, "aarch64", True), (torch.float16, "x86_64", True), (torch.bfloat16, "x86_64", False)],
)
def test_weights_that_cannot_be_packed_are_not_changed(dtype, machine, bf16, monkeypatch):
    monkeypatch.setattr(packed_weights.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: bf16)
    model = layers().to(dtype)
    pack_weights(model)
    assert not any(layer.weight.is_mkldnn for layer in model if isinstance(layer, nn.Linear))
    assert model(torch.randn(2, 24).to(dtype)).dtype == dtype


@needs_onednn
@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bf16 in hardware")
def test_bf16_is_packed_if_the_processor_supports_it():
    plain, packed = layers().bfloat16(), layers().bfloat16()
    pack_weights(packed)
    assert packed[0].weight.is_mkldnn
    values = torch.randn(32, 24).bfloat16()
    with torch.inference_mode():
        torch.testing.assert_close(packed(values), plain(values), rtol=2e-2, atol=2e-2)
