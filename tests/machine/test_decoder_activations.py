"""The estimate of what a layer keeps for the backward pass is what autograd saves."""

import json
from dataclasses import replace

import pytest
import torch
from made_up_recipes import train_recipe
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from summtune.machine.decoder_shape import read_decoder_shape
from summtune.machine.precision import Precision
from summtune.recipe.adapters import adapter_of
from summtune.recipe.families.facts import LayerNames

BATCH, TOKENS = 2, 96
SIZES = {
    "vocab_size": 331,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
OWN = {
    "gemma2": {"head_dim": 24},
    "gemma3_text": {"head_dim": 24},
    "gpt_neox": {"num_key_value_heads": 4},
    "gpt2": {"vocab_size": 331, "n_embd": 64, "n_head": 4, "n_positions": 96, "attn_pdrop": 0.0, "embd_pdrop": 0.0},
    "qwen3": {"head_dim": 24},
}
KINDS = ["gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "olmo", "olmo2", "phi", "phi3", "qwen2", "qwen3"]


def built(kind, layers):
    sizes = OWN[kind] if kind == "gpt2" else SIZES | OWN.get(kind, {})
    sizes = sizes | {"n_layer" if kind == "gpt2" else "num_hidden_layers": layers}
    config = CONFIG_MAPPING[kind](**sizes)
    config._attn_implementation = "eager" if kind == "gemma2" else "sdpa"
    config.use_cache = False
    return AutoModelForCausalLM.from_config(config)


def saved(kind, layers, numbers, adapter):
    """Return the bytes of all tensors that autograd saves in a forward pass, but for the weights and their copies."""
    model = built(kind, layers)
    if adapter is not None:
        from peft import LoraConfig, get_peft_model

        model = model.to(torch.bfloat16) if numbers == "bf16" else model
        model = get_peft_model(
            model, LoraConfig(r=adapter.r, target_modules=adapter.targets, lora_dropout=adapter.dropout)
        )
    model.train()
    held = {weight.untyped_storage().data_ptr() for weight in (*model.parameters(), *model.buffers())}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held and (tensor.ndim != 2 or tensor.shape[0] == BATCH * TOKENS):
            found[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(3, 331, (BATCH, TOKENS))
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=numbers != "fp32"):
        output = model(input_ids=ids, logits_to_keep=1)
    assert output.logits is not None
    return sum(storage.nbytes() for storage in found.values())


def estimated(kind, numbers, adapter):
    config = built(kind, 1).config
    shape = read_decoder_shape(json.loads(config.to_json_string(use_diff=False)), None)
    lengths = {"micro_batch_size": BATCH, "sequence_len": TOKENS - 3, "target_len": 4}
    kept = [
        replace(shape, layers=layers).activations(train_recipe(**lengths), adapter, Precision(numbers, "cpu"))
        for layers in (1, 2)
    ]
    return kept[1] - kept[0]


@pytest.mark.parametrize("numbers", ["fp32", "autocast"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_keeps_what_autograd_saves(kind, numbers):
    kept = saved(kind, 2, numbers, None) - saved(kind, 1, numbers, None)
    assert estimated(kind, numbers, None) == pytest.approx(kept, rel=0.04)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses a deprecated name
@pytest.mark.parametrize("dropout", [0.05, 0.0])
@pytest.mark.parametrize("numbers", ["fp32", "bf16"])
def test_a_layer_with_lora_keeps_what_autograd_saves(numbers, dropout):
    names = LayerNames(lora=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
    adapter = adapter_of(train_recipe(adapter="lora", lora_r=8, lora_dropout=dropout), names)
    kept = saved("llama", 2, numbers, adapter) - saved("llama", 1, numbers, adapter)
    # Without dropout in fp32, the output of the attention is counted twice.
    assert estimated("llama", numbers, adapter) == pytest.approx(kept, rel=0.06)
