"""What is known of decoder-only models: which they are, their positions, and what their layers are called."""

import re

import pytest

from summtune.recipe.families import family_of, no_family
from summtune.recipe.families.decoder_only import layer_names, prompt_limit, recognizes, summary_limit

LLAMA = {"model_type": "llama", "max_position_embeddings": 2048}
VISION = {"vision_config": {}}


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (LLAMA, 2048),
        (LLAMA | {"sliding_window": 64}, 2048),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "bloom"}, None),
        ({"model_type": "mpt", "max_seq_len": 4096}, 4096),
        (LLAMA | {"max_position_embeddings": "many"}, None),
        # Llama 3.1 names the scaled positions, Qwen 2.5 with YaRN those of the training.
        (
            {
                "model_type": "llama",
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        (
            {
                "model_type": "qwen2",
                "max_position_embeddings": 32768,
                "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
        ({"model_type": "gemma3_text", "max_position_embeddings": 131072, "rope_scaling": {"factor": 8.0}}, 131072),
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 700}, **VISION}, 700),
    ],
)
def test_prompt_and_summary_share_the_positions(config, tokens):
    for limit in (prompt_limit(config), summary_limit(config)):
        assert (limit.tokens if limit else None) == tokens


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LLAMA, True),
        ({"model_type": "gpt_neox"}, True),
        ({"model_type": "of_tomorrow", "architectures": ["OfTomorrowForCausalLM"]}, True),
        ({"model_type": "of_tomorrow", "architectures": ["OfTomorrowModel"]}, False),
        ({"model_type": "of_tomorrow", "architectures": "OfTomorrowForCausalLM"}, False),
        ({"model_type": "own_code", "architectures": ["OwnForCausalLM"], "auto_map": {}}, False),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, False),
        ({"model_type": "bert", "is_decoder": True, "architectures": ["BertLMHeadModel"]}, False),
        ({"model_type": "bart", "is_encoder_decoder": False, "architectures": ["BartForCausalLM"]}, False),
        ({"model_type": "seer", "architectures": ["SeerForCausalLM"], **VISION}, False),
        ({"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text"}, **VISION}, True),
        ({"model_type": "seer", "text_config": {"model_type": "llama"}, **VISION}, True),
        ({"model_type": "seer", "text_config": {"model_type": "llama"}, "auto_map": {}}, False),
        ({"model_type": "seer", "text_config": {"model_type": "seer_text"}, **VISION}, False),
        ({}, False),
    ],
)
def test_a_model_is_decoder_only_by_its_type_or_its_architecture(config, expected):
    assert recognizes(config) is expected
    assert (family_of(config) == "decoder_only") is expected


def test_every_known_type_is_one_that_transformers_loads():
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as LOADED

    from summtune.recipe.families import decoder_only

    known = {*decoder_only._LAYERS, *decoder_only._OTHERS, *decoder_only._LOADED_ALONE}
    assert not known - set(LOADED)
    assert not decoder_only._NOT_LEFT_TO_RIGHT & known


def test_transformers_loads_the_text_part_of_these_models_alone():
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    from summtune.recipe.families import decoder_only

    for name in decoder_only._LOADED_ALONE:
        config = CONFIG_MAPPING[name]
        assert MODEL_FOR_CAUSAL_LM_MAPPING[config].config_class is config.sub_configs["text_config"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "bert"}, r"\(got model_type 'bert' in x\); use one such as google/flan-t5-base or Hugging"),
        ({"model_type": "llava", **VISION}, r"'llava', which reads more than text, and whose text part is unknown"),
        ({"model_type": "own", "auto_map": {}}, r"'own', which needs its own code, and that is never run"),
        ({}, r"\(got no model_type in x\)"),
    ],
)
def test_a_model_of_no_family_is_refused_with_the_reason(config, reason):
    message = no_family(config, "x")
    assert message.startswith("neither an encoder-decoder nor a decoder-only language model")
    assert re.search(reason, message)


def test_the_layers_of_a_llama_have_names():
    linear = ("q_proj", "v_proj")
    assert layer_names(LLAMA, linear).query == ("q_proj",)
    assert layer_names(LLAMA, linear).lora == linear
    assert layer_names({"model_type": "of_tomorrow"}, linear).query == ()
