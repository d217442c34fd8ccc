"""What `summtune.work.cpu.quicken` does to a model for each purpose."""

import pytest
import torch
from torch import nn

from summtune.work import cpu
from summtune.work.models.loading import load_model


@pytest.mark.parametrize("purpose", ["training", "generation"])
def test_only_a_model_for_generation_has_packed_weights(purpose, checkpoint, monkeypatch):
    packed = []
    monkeypatch.setattr(cpu, "pack_weights", packed.append)
    model = load_model(checkpoint, torch.float32)
    cpu.quicken(model, purpose, print)
    assert packed == ([model] if purpose == "generation" else [])


def test_a_model_for_training_keeps_weights_that_train(checkpoint):
    model = load_model(checkpoint, torch.float32)
    cpu.quicken(model, "training", print)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert linear
    assert all(layer.weight.requires_grad and not layer.weight.is_mkldnn for layer in linear)
