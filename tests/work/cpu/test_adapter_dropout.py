import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from summtune.work.cpu import library
from summtune.work.cpu.adapter_dropout import quicken_dropout

TINY = LlamaConfig(
    vocab_size=60,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    pad_token_id=0,
)
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
needs_compiler = pytest.mark.skipif(library.why_not() is not None, reason="passes are compiled")


def adapted(dropout):
    torch.manual_seed(1)
    wanted = LoraConfig(r=2, lora_dropout=dropout, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(LlamaForCausalLM(TINY), wanted)


def logits(model):
    ids = torch.arange(40).reshape(2, 20)
    return model(input_ids=ids, use_cache=False).logits


@needs_compiler
def test_the_share_that_is_dropped_is_that_of_the_adapter():
    model = adapted(0.25)
    quicken_dropout(model)
    layer = model.base_model.model.model.layers[0].mlp.up_proj.lora_dropout["default"]
    assert layer.training
    assert type(layer) is not nn.Dropout
    values = layer(torch.ones(100, 400))
    assert (values == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert values.mean() == pytest.approx(1, abs=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(3, 400)).dtype == torch.bfloat16


@needs_compiler
def test_an_adapter_that_drops_nothing_computes_the_same():
    plain, ours = adapted(0.5).eval(), adapted(0.5).eval()
    quicken_dropout(ours)
    assert torch.equal(logits(plain), logits(ours))


@needs_compiler
def test_the_same_seed_drops_the_same():
    model = adapted(0.5)
    quicken_dropout(model)
    seeded = [(torch.manual_seed(seed), logits(model))[1] for seed in (3, 3, 4)]
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.equal(seeded[0], seeded[2])


def test_without_a_compiler_torch_drops(monkeypatch):
    monkeypatch.setattr(library, "why_not", lambda: "there is none")
    model = adapted(0.5)
    quicken_dropout(model)
    layer = model.base_model.model.model.layers[0].mlp.up_proj.lora_dropout["default"]
    assert type(layer) is nn.Dropout
