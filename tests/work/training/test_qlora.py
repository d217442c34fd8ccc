"""Adapters train, are stored and generate on weights of four bits; bitsandbytes can do it on a CPU, slowly."""

import json

import pytest
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tiny_decoders import write_decoder
from tiny_inputs import write_checkpoint

from summtune.base.files import read_jsonl
from summtune.work.generation.prediction import predict

pytest.importorskip("bitsandbytes")

# peft and bitsandbytes use deprecated names of transformers 5 and torch
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:_check_is_size will be removed:FutureWarning"),
]
KEYS = {"max_steps": 6, "num_epochs": None, "learning_rate": 0.05, "sequence_len": 256}
LORA = {"lora_r": 4, "lora_dropout": 0.0}


def write_base(family, folder):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 512}
    if family == "decoder_only":
        return write_decoder(folder, **sizes, architecture="llama", chat_template=None)
    return write_checkpoint(folder, d_model=64, d_ff=128)


@pytest.fixture(params=["encoder_decoder", "decoder_only"])
def base(request, tmp_path):
    return write_base(request.param, tmp_path / "base")


def predictions_of(run):
    AcceleratorState._reset_state(reset_partial_state=True)
    predict(run.plan, run.folder, run.events("predict"))
    AcceleratorState._reset_state(reset_partial_state=True)
    return [row["prediction"] for row in read_jsonl(run.folder / "predictions.jsonl")]


def test_only_the_adapter_is_trained_and_stored_and_the_model_generates(trained, base):
    run = trained(base_model=str(base), adapter="qlora", **LORA, **KEYS)
    assert run.losses[-1] < run.losses[0]
    stored = load_file(run.folder / "model" / "adapter_model.safetensors")
    assert all("lora_" in name for name in stored)
    assert run.training["trainable_parameters"] == sum(tensor.numel() for tensor in stored.values())
    whole = load_file(base / "model.safetensors")
    assert run.training["total_parameters"] - run.training["trainable_parameters"] == sum(
        tensor.numel() for tensor in whole.values()
    )
    assert not (run.folder / "model" / "model.safetensors").exists()
    predictions_of(run)
    assert any("slow on a CPU" in text for text in run.texts("message"))
    stats = json.loads((run.folder / "prediction_stats.json").read_text())
    assert stats["dialogues"] == 3


def test_load_in_4bit_with_lora_is_the_same_training_as_qlora(trained, base):
    keys = {"base_model": str(base), **LORA, **KEYS, "max_steps": 2}
    one = trained(name="one", adapter="qlora", **keys)
    AcceleratorState._reset_state(reset_partial_state=True)
    other = trained(name="other", adapter="lora", load_in_4bit=True, **keys)
    assert one.losses == other.losses
    assert one.plan.keys.train == other.plan.keys.train


@pytest.mark.slow
@pytest.mark.parametrize("keys", [{"adapter": "ia3"}, {"adapter": "prompt_tuning", "num_virtual_tokens": 4}], ids=str)
def test_other_adapters_train_on_weights_of_four_bits(trained, base, keys):
    run = trained(base_model=str(base), load_in_4bit=True, **keys, **KEYS | {"learning_rate": 0.5})
    assert run.losses[-1] < run.losses[0]
    predictions_of(run)


def test_a_model_of_four_bits_is_prompted(prepare, base):
    keys = {"kind": "prompt", "datasets": None, "learning_rate": None, "num_epochs": None, "logging_steps": None}
    run = prepare(base_model=str(base), load_in_4bit=True, sequence_len=256, **keys)
    assert run.plan.quantization is not None
    assert len(predictions_of(run)) == 3
