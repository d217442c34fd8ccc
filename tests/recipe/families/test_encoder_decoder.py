"""What is known of encoder-decoder models: which they are, their positions, and what their layers are called."""

import pytest

from summtune.recipe.families import family_of
from summtune.recipe.families.encoder_decoder import (
    layer_names,
    missing_start,
    prompt_limit,
    recognizes,
    start,
    summary_limit,
)
from summtune.recipe.families.facts import LayerNames

BART = {"model_type": "bart", "max_position_embeddings": 128}


@pytest.mark.parametrize(
    ("config", "prompt", "summary"),
    [
        (BART, 128, 128),
        ({"model_type": "blenderbot", "max_position_embeddings": 128}, 128, 128),
        ({"model_type": "t5", "n_positions": 512}, None, None),
        ({"model_type": "m2m_100", "max_position_embeddings": 1024}, None, None),
        ({"model_type": "pegasus_x", "max_position_embeddings": 16384}, None, None),
        ({"model_type": "of_tomorrow", "max_position_embeddings": 700}, 700, 700),
        ({"model_type": "of_tomorrow", "max_position_embeddings": 700, "rope_theta": 1e4}, None, None),
        ({"model_type": "of_tomorrow", "max_position_embeddings": "many"}, None, None),
        (
            {"model_type": "led", "max_encoder_position_embeddings": 1000, "attention_window": [64, 128]},
            896,
            None,
        ),
        (
            {
                "model_type": "encoder-decoder",
                "encoder": {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1},
                "decoder": {"model_type": "gpt2", "n_positions": 1024},
            },
            512,
            1024,
        ),
        ({"model_type": "encoder-decoder", "encoder": None}, None, None),
    ],
)
def test_the_positions_of_a_model_bound_its_prompt_and_summary(config, prompt, summary):
    limits = prompt_limit(config), summary_limit(config)
    assert tuple(limit.tokens if limit else None for limit in limits) == (prompt, summary)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "t5"}, True),
        ({"model_type": "led", "is_encoder_decoder": True}, True),
        ({"model_type": "of_tomorrow", "is_encoder_decoder": True}, True),
        ({"model_type": "encoder-decoder"}, True),
        ({"model_type": "t5", "is_encoder_decoder": False}, False),
        ({"model_type": "llama"}, False),
        ({"model_type": "bert", "is_encoder_decoder": False}, False),
        ({"model_type": "whisper", "is_encoder_decoder": True}, False),
        ({"model_type": "vision-encoder-decoder", "is_encoder_decoder": True}, False),
        ({"is_encoder_decoder": True}, False),
        ({"model_type": ["t5"], "is_encoder_decoder": True}, False),
        ({"model_type": "t5x", "is_encoder_decoder": 1}, False),
        ({}, False),
    ],
)
def test_a_model_that_reads_and_writes_text_with_two_parts_is_recognized(config, expected):
    assert recognizes(config) is expected
    assert (family_of(config) == "encoder_decoder") is expected


def test_a_composed_model_has_the_layers_of_both_of_its_parts():
    def composed(encoder, decoder):
        parts = {"encoder": {"model_type": encoder}, "decoder": {"model_type": decoder}}
        return layer_names({"model_type": "encoder-decoder"} | parts, ())

    assert composed("bert", "roberta").query == composed("bert", "roberta").lora[:1] == ("query",)
    assert composed("bert", "gpt2") == LayerNames()
    assert layer_names({"model_type": "encoder-decoder", "encoder": 3}, ()) == LayerNames()


def test_lora_targets_queries_and_values_unless_these_are_not_known():
    assert layer_names({"model_type": "t5"}, ("k", "o")).lora == ("q", "v")
    assert layer_names({"model_type": "t5"}, ("k", "o")).linear == ("k", "o")
    assert layer_names({"model_type": "of_tomorrow"}, ("a", "b")) == LayerNames(linear=("a", "b"))


def test_the_start_of_a_summary_is_that_of_the_generation_config_before_the_models():
    assert start({"decoder_start_token_id": 2}, {"decoder_start_token_id": 5})[1] == 5
    assert start({"decoder_start_token_id": 2}, {})[1] == 2
    assert start({"model_type": "t5gemma", "decoder": {"bos_token_id": 3}}, {})[1] == 3
    assert start({"model_type": "t5"}, {}) == ("decoder_start_token_id", None)


@pytest.mark.parametrize("complete", [True, False])
def test_a_class_may_have_a_default_start_unless_its_defaults_are_known(complete):
    message = missing_start({"model_type": "bart"}, complete, "a/config.json")
    assert (message is not None) is complete
    assert "add it (for mBART: the id" in missing_start({"model_type": "mbart"}, complete, "a/config.json")
