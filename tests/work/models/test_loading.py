import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_inputs import CONFIG, write_checkpoint
from transformers import BertConfig, T5ForConditionalGeneration

from summtune.base.errors import ModelError
from summtune.machine.stored_tensors import stored_tensors
from summtune.machine.t5_shape import T5Shape
from summtune.recipe.adapters import Quantization
from summtune.work.models.loading import (
    alias_names,
    count_parameters,
    load_model,
    load_tokenizer,
    mark_untied,
    publish,
)

# peft uses a deprecated name of transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

EMBEDDING = CONFIG["vocab_size"] * CONFIG["d_model"]
SHAPE = T5Shape(CONFIG["vocab_size"], 32, 8, 64, 2, 1, 4, buckets=8)


@pytest.fixture
def copied(tmp_path, checkpoint):
    return shutil.copytree(checkpoint, tmp_path / "copied")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def lm_head_is_apart(model):
    return model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()


def test_lm_head_is_the_stored_matrix(checkpoint):
    model = load_model(checkpoint, torch.float32)
    stored = load_file(checkpoint / "model.safetensors")
    assert lm_head_is_apart(model)
    assert torch.equal(model.lm_head.weight, stored["lm_head.weight"])
    assert torch.equal(model.shared.weight, stored["shared.weight"])
    assert count_parameters(model) == (SHAPE.parameters, SHAPE.parameters)


@pytest.mark.parametrize("claimed", [True, False, None])
def test_a_stored_lm_head_stays_untied_regardless_of_the_config(copied, claimed):
    edit_config(copied, tie_word_embeddings=claimed)
    model = load_model(copied, torch.float32)
    assert lm_head_is_apart(model)
    assert torch.equal(model.lm_head.weight, load_file(copied / "model.safetensors")["lm_head.weight"])


def test_a_stored_lm_head_that_equals_the_embedding_stays_untied(copied):
    edit_weights(copied, lambda tensors: tensors.update({"lm_head.weight": tensors["shared.weight"].clone()}))
    model = load_model(copied, torch.float32)
    assert lm_head_is_apart(model)
    assert count_parameters(model)[1] == SHAPE.parameters


def test_a_checkpoint_without_lm_head_is_tied(copied):
    edit_config(copied, tie_word_embeddings=True)
    edit_weights(copied, lambda tensors: tensors.pop("lm_head.weight"))
    model = load_model(copied, torch.float32)
    assert not lm_head_is_apart(model)
    assert count_parameters(model)[1] == SHAPE.parameters - EMBEDDING


def test_loading_does_not_change_classes_of_transformers(checkpoint):
    before = dict(T5ForConditionalGeneration._tied_weights_keys)
    load_model(checkpoint, torch.float32)
    assert before == T5ForConditionalGeneration._tied_weights_keys
    assert "lm_head.weight" in before


def test_weights_are_loaded_in_the_requested_precision(checkpoint):
    model = load_model(checkpoint, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_model_of_neither_family_is_refused(tmp_path):
    BertConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match=r"neither an encoder-decoder nor .* \(got model_type 'bert' in .*such as google/flan-t5-base"
    ):
        load_model(tmp_path, torch.float32)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=rf"no model can be loaded \(got {tmp_path}"):
        load_model(tmp_path, torch.float32)


def test_pickled_weights_are_never_loaded(copied):
    (copied / "model.safetensors").unlink()
    torch.save({}, copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match=rf"the model's files cannot be loaded \(got {copied}"):
        load_model(copied, torch.float32)


def test_missing_weights_are_refused(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"the model's files cannot be loaded \(got {copied}"):
        load_model(copied, torch.float32)


@pytest.mark.parametrize("keep", [0.5, 0.001])
def test_truncated_weights_are_refused(copied, keep):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ModelError, match=rf"the model's files cannot be loaded \(got {copied}"):
        load_model(copied, torch.float32)


def test_code_next_to_the_weights_is_not_run(copied):
    edit_config(copied, auto_map={"AutoConfig": "evil.Config", "AutoModelForSeq2SeqLM": "evil.Model"})
    (copied / "evil.py").write_text("raise SystemExit('run')")
    assert type(load_model(copied, torch.float32)) is T5ForConditionalGeneration


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_weights_of_four_bits_are_said_to_be_slow_on_a_cpu(tmp_path):
    pytest.importorskip("bitsandbytes")
    said = []
    folder = write_checkpoint(tmp_path / "base", d_model=64, d_ff=128)
    model = load_model(folder, torch.float32, Quantization(), said.append)
    assert type(model.get_encoder().block[0].layer[0].SelfAttention.q.weight).__name__ == "Params4bit"
    assert count_parameters(model)[1] == count_parameters(load_model(folder, torch.float32))[1]
    (text,) = said
    assert "slow on a CPU" in text


def test_weights_of_four_bits_stay_as_they_are_when_a_model_is_evaluated(tmp_path):
    """bitsandbytes rearranges them on CPUs with bf16 instructions, and rounds their scales."""
    pytest.importorskip("bitsandbytes")
    from bitsandbytes.nn import Linear4bit

    folder = write_checkpoint(tmp_path / "base", d_model=64, d_ff=128)
    model = load_model(folder, torch.float32, Quantization())
    quantized = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert quantized
    assert {module.support_avx512bf16_for_cpu for module in quantized} == {False}
    before = [module.weight.data.clone() for module in quantized]
    with torch.no_grad():
        model.eval()(input_ids=torch.tensor([[5, 1]]), decoder_input_ids=torch.tensor([[0, 7]]))
    assert all(torch.equal(module.weight.data, was) for module, was in zip(quantized, before, strict=True))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match=rf"no tokenizer can be loaded \(got {tmp_path}"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_character_offsets_is_refused(monkeypatch, tmp_path):
    class Slow:
        is_fast = False

    monkeypatch.setattr("summtune.work.models.loading.AutoTokenizer.from_pretrained", lambda *_, **__: Slow())
    with pytest.raises(ModelError, match=r"no character offsets \(got Slow\); add tokenizer.json"):
        load_tokenizer(tmp_path)


def test_further_names_of_shared_weights_are_aliases(checkpoint):
    model = load_model(checkpoint, torch.float32)
    aliases = alias_names(model)
    assert aliases == {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    assert model.state_dict().keys() - aliases == load_file(checkpoint / "model.safetensors").keys()


def test_the_saved_config_marks_lm_head_as_untied(tmp_path, checkpoint):
    load_model(checkpoint, torch.float32).save_pretrained(tmp_path)
    mark_untied(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is False
    assert stored_tensors(tmp_path).keys() == stored_tensors(checkpoint).keys()


def test_the_config_of_a_tied_model_is_not_marked(copied):
    edit_config(copied, tie_word_embeddings=True)
    edit_weights(copied, lambda tensors: tensors.pop("lm_head.weight"))
    mark_untied(copied)
    assert json.loads((copied / "config.json").read_text())["tie_word_embeddings"] is True


def test_a_folder_without_config_is_not_marked(tmp_path):
    mark_untied(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_publishing_replaces_the_old_folder(tmp_path):
    for name in ("model", "model.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").touch()
    publish(tmp_path / "model.partial", tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.partial.txt"]
    assert not (tmp_path / "model.partial").exists()


def test_the_weights_of_other_sizes_are_counted(tmp_path):
    write_checkpoint(tmp_path, num_decoder_layers=2)
    assert count_parameters(load_model(tmp_path, torch.float32))[1] == SHAPE.parameters + 2 * 4 * 32 * 32 + 3 * (
        32 * 64 + 32
    )
