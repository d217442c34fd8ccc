"""An adapter trains on weights of four bits; bitsandbytes can do it on a CPU, too slowly for more than a test."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_inputs import write_checkpoint

from summtune.work.models import loading

pytest.importorskip("bitsandbytes")

# peft uses a deprecated name of transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture
def on_a_cpu(monkeypatch):
    """Let weights be quantized without a CUDA device, which recipes may not."""
    in_four_bits = loading._in_four_bits

    def allowed(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            return in_four_bits(*arguments)

    monkeypatch.setattr(loading, "_in_four_bits", allowed)


@pytest.mark.usefixtures("on_a_cpu")
def test_only_the_adapter_is_trained_and_stored(trained, tmp_path):
    base = write_checkpoint(tmp_path / "base", d_model=64, d_ff=128)
    run = trained(base_model=str(base), adapter="qlora", lora_r=4, max_steps=6, num_epochs=None, learning_rate=0.05)
    assert run.losses[-1] < run.losses[0]
    stored = load_file(run.folder / "model" / "adapter_model.safetensors")
    assert all("lora_" in name for name in stored)
    assert run.training["trainable_parameters"] == sum(tensor.numel() for tensor in stored.values())
    assert run.training["total_parameters"] > sum(
        tensor.numel() for tensor in load_file(base / "model.safetensors").values()
    )
    assert not (run.folder / "model" / "model.safetensors").exists()
