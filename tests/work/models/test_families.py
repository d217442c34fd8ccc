"""What summtune knows about families without torch agrees with transformers and peft."""

import pytest
import torch
import transformers
from made_up_recipes import train_recipe
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
)
from transformers import CONFIG_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

from summtune.recipe.adapters import adapter_of
from summtune.recipe.families import facts_about, family_of, layer_names
from summtune.work.models.adapter_layers import check_targets
from summtune.work.models.families import family_named, family_of_config

# Models that read speech, or only one part of a model: they cannot summarize a dialogue.
NOT_TEXT_TO_TEXT = {"seamless_m4t", "seamless_m4t_v2"}
TEXT_TO_TEXT = sorted(
    config.model_type
    for config in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    if getattr(config, "is_encoder_decoder", False) or config.model_type in ("encoder-decoder", "fsmt")
)
SMALL = dict.fromkeys(("vocab_size", "src_vocab_size", "tgt_vocab_size"), 64)
SMALL |= dict.fromkeys(("d_model", "hidden_size"), 16) | dict.fromkeys(("num_heads", "d_kv"), 2)
SMALL |= dict.fromkeys(("encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers"), 2)
SMALL |= dict.fromkeys(("num_encoder_layers", "num_sparse_encoder_layers", "num_sparse_decoder_layers"), 1)
SMALL |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
SMALL |= dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 2)
SMALL |= dict.fromkeys(("d_ff", "encoder_ffn_dim", "decoder_ffn_dim"), 32)
SMALL |= {"max_position_embeddings": 64, "num_experts": 2, "attention_window": 8, "pad_token_id": 0, "eos_token_id": 1}
LAYERED = [kind for kind in TEXT_TO_TEXT if layer_names({"model_type": kind})]


def test_every_text_to_text_model_of_transformers_is_an_encoder_decoder():
    unknown = {kind for kind in TEXT_TO_TEXT if family_of({"model_type": kind}) is None}
    assert unknown <= NOT_TEXT_TO_TEXT


def test_no_decoder_only_model_of_transformers_is_an_encoder_decoder():
    kinds = {config.model_type for config in transformers.MODEL_FOR_CAUSAL_LM_MAPPING}
    taken = {kind for kind in kinds if family_of({"model_type": kind}) == "encoder_decoder"}
    # transformers has heads of both kinds for these; their checkpoints are of encoder-decoder models.
    assert taken <= set(TEXT_TO_TEXT)
    assert {"llama", "gpt2", "qwen3", "gemma3_text"} <= kinds - taken


def test_a_config_object_and_its_file_have_the_same_family():
    assert family_of_config(transformers.T5Config()) == "encoder_decoder"
    assert family_of_config(transformers.LlamaConfig()) == "decoder_only"
    assert family_of_config(transformers.WhisperConfig()) is None


def test_auto_class_and_task_agree_with_transformers_and_peft():
    name = facts_about("encoder_decoder").auto_class()
    assert getattr(transformers, name)._model_mapping is MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    assert family_named("encoder_decoder").task_type() == "SEQ_2_SEQ_LM"


def test_default_layers_of_lora_agree_with_those_of_peft():
    theirs = {kind: TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(kind) for kind in LAYERED}
    recipe = train_recipe(adapter="lora")
    ours = {kind: adapter_of(recipe, layer_names({"model_type": kind})).targets for kind in LAYERED}
    assert {kind: ours[kind] for kind, layers in theirs.items() if layers} == {k: v for k, v in theirs.items() if v}
    assert {"t5", "mt5", "bart"} <= {kind for kind, layers in theirs.items() if layers}
    for kind in ("t5", "bart"):
        inputs = adapter_of(train_recipe(adapter="ia3"), layer_names({"model_type": kind})).feedforward
        assert inputs == TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING[kind]


@pytest.mark.parametrize("kind", [kind for kind in LAYERED if kind not in ("t5gemma", "t5gemma2", "prophetnet")])
def test_the_default_layers_are_linear_layers_of_a_real_model(kind):
    config_class = CONFIG_MAPPING[kind]
    config = config_class(**{key: value for key, value in SMALL.items() if hasattr(config_class(), key)})
    with torch.device("meta"):
        model = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING[config_class](config)
    for name in ("lora", "ia3"):
        adapter = adapter_of(train_recipe(adapter=name), layer_names({"model_type": kind}))
        for key, layers in adapter.layers().items():
            check_targets(model, layers, key)
