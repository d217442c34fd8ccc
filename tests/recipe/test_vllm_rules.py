"""What vLLM cannot generate with is refused when the recipe is read."""

import pytest
from recipes_as_written import ENDPOINT, LORA, PROMPT, TRAIN, rule_findings

from summtune.recipe.vllm_rules import LORA_RANKS

VLLM = {"generation": {"engine": "vllm"}}


def findings(given, generation=None, **keys):
    return rule_findings(given, **({"generation": {"engine": "vllm"} | (generation or {})} | keys))


@pytest.mark.parametrize("given", [PROMPT, TRAIN, LORA, LORA | {"peft_use_rslora": True}])
def test_what_vllm_serves_is_no_problem(given):
    assert findings(given) == []
    assert findings(given, {"do_sample": True, "temperature": 0.5, "stop": ["\n"]}) == []


@pytest.mark.parametrize(
    ("given", "generation", "key", "got"),
    [
        (PROMPT, {"num_beams": 4}, "generation.num_beams", "got num_beams: 4"),
        (PROMPT, {"no_repeat_ngram_size": 3}, "generation.no_repeat_ngram_size", "got no_repeat_ngram_size: 3"),
        (PROMPT | {"load_in_4bit": True}, {}, "load_in_4bit", "got load_in_4bit: True"),
        (TRAIN | {"adapter": "qlora"}, {}, "adapter", "got adapter: qlora"),
        (TRAIN | {"adapter": "ia3"}, {}, "adapter", "got adapter: ia3"),
        (TRAIN | {"adapter": "prompt_tuning"}, {}, "adapter", "got adapter: prompt_tuning"),
        (LORA | {"peft_use_dora": True}, {}, "peft_use_dora", "got peft_use_dora: true"),
        (LORA | {"lora_r": 513}, {}, "lora_r", "got lora_r: 513)"),
        (LORA | {"lora_r": 300, "peft_init_lora_weights": "olora"}, {}, "lora_r", "300, which olora doubles"),
        (PROMPT | {"num_machines": 2}, {}, "num_machines", "got num_machines: 2"),
        (PROMPT | {"launcher": "slurm", "slurm": {"nodes": 3}}, {}, "slurm.nodes", "got slurm.nodes: 3"),
    ],
)
def test_what_vllm_cannot_do_is_refused(given, generation, key, got):
    ((path, message),) = findings(given, generation)
    assert path == key
    assert got in message
    settings = {"generation": generation} if generation else {}
    assert rule_findings(given, **settings) == [], "with transformers it is no problem"


def test_more_machines_train_first_and_the_training_is_reused():
    ((_, message),) = findings(LORA, num_machines=2)
    assert "or train without it first: with it and one machine, the same recipe then reuses the training" in message
    ((_, message),) = findings(PROMPT, num_machines=2)
    assert "train" not in message


def test_the_largest_rank_is_served():
    assert findings(LORA, lora_r=LORA_RANKS[-1]) == []
    assert findings(LORA, lora_r=LORA_RANKS[-1] // 2, peft_init_lora_weights="pissa") == []


def test_a_batch_size_has_no_effect_with_vllm():
    ((path, message),) = findings(PROMPT, {"batch_size": 4})
    assert path == "generation.batch_size"
    assert "has no effect with `engine: vllm`, which schedules prompts itself; remove it" in message


def test_an_engine_has_no_effect_with_an_endpoint():
    ((path, message),) = rule_findings(ENDPOINT, **VLLM)
    assert path == "generation.engine"
    assert "with an endpoint" in message
