"""What is known of encoder-decoder models: which they are, their positions, and what their layers are called."""

import pytest

from summtune.recipe.families.encoder_decoder import prompt_limit, summary_limit

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
