"""Weights and layers of decoder-only models are those of transformers' own modules."""

import json
from collections import defaultdict

import pytest

from summtune.base.errors import ModelError
from summtune.machine.decoder_blocks import BLOCKS
from summtune.machine.model_shapes import KNOWN_MODELS, shape_of
from summtune.recipe.adapters import LayerSize

SIZES = {
    "vocab_size": 331,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
GPT2 = {"vocab_size": 331, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 96}


def sizes_of(kind):
    if kind == "gpt2":
        return GPT2
    return SIZES if kind != "gpt_neox" else {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}


def on_meta(kind, **keys):
    """Return a model without memory for its weights, and its config."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[kind](**sizes_of(kind), pad_token_id=0, **keys)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config), config


def saved(config, folder):
    """Return a folder with config.json as transformers writes it: only what differs from the class's defaults."""
    config.save_pretrained(folder)
    return folder


def projections(model):
    """Return the linear layers of a model by the end of their name: [(inputs, outputs)]."""
    from transformers.pytorch_utils import Conv1D

    found = defaultdict(list)
    for name, module in model.named_modules():
        if isinstance(module, Conv1D):
            found[name.rsplit(".", 1)[-1]].append(tuple(module.weight.shape))
        elif type(module).__name__ == "Linear":
            found[name.rsplit(".", 1)[-1]].append((module.in_features, module.out_features))
    return found


VARIANTS = [
    *((kind, {"head_dim": 16} if kind == "ministral" else {}) for kind in BLOCKS),
    ("llama", {"tie_word_embeddings": True, "head_dim": 24, "attention_bias": True, "mlp_bias": True}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen3", {"head_dim": 24, "attention_bias": True}),
    ("gemma3_text", {"tie_word_embeddings": False, "head_dim": 16}),
    ("smollm3", {"tie_word_embeddings": False}),
    ("mistral", {"head_dim": 32}),
    ("gpt_neox", {"attention_bias": False, "tie_word_embeddings": True}),
    ("gpt2", {"tie_word_embeddings": False, "n_inner": 100}),
    ("starcoder2", {"use_bias": False, "tie_word_embeddings": False}),
]


@pytest.mark.parametrize(
    ("kind", "keys"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "+".join(value)
)
def test_weights_and_layers_are_those_of_transformers(tmp_path, kind, keys):
    model, config = on_meta(kind, **keys)
    shape = shape_of("./model", saved(config, tmp_path))
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    layers = projections(model)
    assert set(shape.layer_sizes) == set(layers)
    for name, (number, inputs, outputs) in shape.layer_sizes.items():
        assert number == len(layers[name])
        assert (number * inputs, number * outputs) == tuple(map(sum, zip(*layers[name], strict=True))), name
    of_layers = sum(i * o for name, sizes in layers.items() if name != "lm_head" for i, o in sizes)
    assert shape.unquantized == shape.parameters - of_layers


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
        ("Qwen/Qwen3-4B", 4_022_468_096),
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
    ],
)
def test_known_decoder_only_models_have_their_published_sizes(name, parameters):
    assert KNOWN_MODELS[name].parameters == parameters


def test_grouped_queries_make_keys_and_values_narrower():
    sizes = KNOWN_MODELS["meta-llama/Llama-3.1-8B-Instruct"].layer_sizes
    assert (sizes["q_proj"], sizes["k_proj"]) == (LayerSize(32, 4096, 4096), LayerSize(32, 4096, 1024))


def test_a_head_that_shares_the_embedding_is_looked_up_and_multiplied():
    assert KNOWN_MODELS["Qwen/Qwen3-4B"].looked_up == 0
    assert KNOWN_MODELS["meta-llama/Llama-3.1-8B-Instruct"].looked_up == 128256 * 4096


def write(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mamba"},
        {"model_type": "llama"},
        {"model_type": "mixtral", **SIZES},
        {"model_type": "phi", **SIZES, "qk_layernorm": True},
        {"model_type": "gpt2", **GPT2, "add_cross_attention": True},
        {"model_type": ["llama"], **SIZES},
        {"model_type": "llama", **SIZES, "quantization_config": {"quant_method": "gptq"}},
        {"model_type": "llama", **{key: value for key, value in SIZES.items() if key != "intermediate_size"}},
    ],
)
def test_an_architecture_that_is_not_known_has_no_shape_rather_than_a_wrong_one(tmp_path, config):
    assert shape_of("./model", write(tmp_path, **config)) is None


@pytest.mark.parametrize("key", sorted(SIZES))
@pytest.mark.parametrize("value", ["512", -1, 10**25, 1.5, True])
def test_a_size_that_is_no_positive_number_is_refused(tmp_path, key, value):
    with pytest.raises(ModelError, match=f"{key} of a llama model must be a whole number from 1 to") as told:
        shape_of("./model", write(tmp_path, **{"model_type": "llama", **SIZES, key: value}))
    assert f"(got {value!r} in {tmp_path / 'config.json'}); copy the model again" in str(told.value)
