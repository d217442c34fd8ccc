"""How far attention heads can be divided, as vLLM divides them."""

import pytest

from summtune.machine.tensor_parallel import divides, heads_of, most_shards

SMOLLM2 = {"num_attention_heads": 9, "num_key_value_heads": 3}
LLAMA_70B = {"num_attention_heads": 64, "num_key_value_heads": 8}


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        (SMOLLM2, (9, 3)),
        ({"n_head": 12}, (12, 12)),
        ({"num_attention_heads": 71, "num_kv_heads": 1}, (71, 1)),
        ({"text_config": {"num_attention_heads": 8, "num_key_value_heads": 4}, "num_attention_heads": 99}, (8, 4)),
        ({"model_type": "mamba"}, None),
    ],
)
def test_the_heads_of_a_model_are_found(config, heads):
    assert heads_of(config) == heads


@pytest.mark.parametrize(
    ("config", "devices", "most"),
    [
        (SMOLLM2, 8, 3),
        (SMOLLM2, 2, 1),
        (SMOLLM2, 9, 9),  # three copies of each head of keys
        (LLAMA_70B, 8, 8),
        (LLAMA_70B, 16, 16),
        (LLAMA_70B, 6, 4),
        ({"num_attention_heads": 12, "num_key_value_heads": 4}, 6, 4),  # 6 neither divides 4 nor is a multiple of it
        ({"model_type": "mamba"}, 5, 5),
    ],
)
def test_as_many_devices_as_the_heads_can_be_divided_over_are_used(config, devices, most):
    assert most_shards(config, devices) == most
    assert divides(config, most)
