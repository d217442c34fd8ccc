"""The memory estimate: model states by the ZeRO paper's formulas, activations that grow with what they depend on."""

import pytest

from summtune.architecture import KNOWN_MODELS
from summtune.memory import estimate
from summtune.recipe import Recipe

SHAPE = KNOWN_MODELS["google/flan-t5-base"]
ALL = SHAPE.parameters
LORA = 3_538_944


def of(trainable=ALL, processes=4, zero=0, offload=False, bf16=True, **keys):
    recipe = Recipe.model_validate({"kind": "train", "base_model": "google/flan-t5-base"} | keys)
    return estimate(recipe, SHAPE, trainable, processes, zero, offload, bf16)


@pytest.mark.parametrize(
    ("zero", "weights", "gradients", "optimizer"),
    [
        (0, 4 * ALL, 4 * ALL, 8 * ALL),
        (1, 2 * ALL, 2 * ALL, 12 * ALL // 4),
        (2, 2 * ALL, 2 * ALL // 4, 12 * ALL // 4),
        (3, 2 * ALL // 4, 2 * ALL // 4, 12 * ALL // 4),
    ],
)
def test_each_stage_of_zero_divides_more(zero, weights, gradients, optimizer):
    memory = of(zero=zero)
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, gradients, optimizer)
    assert memory.total == weights + gradients + optimizer + memory.activations


def test_in_fp32_deepspeed_keeps_no_second_copy():
    memory = of(zero=1, processes=1, bf16=False)
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * ALL, 4 * ALL, 8 * ALL)


def test_offload_keeps_the_optimizer_off_the_device():
    assert of(zero=2, offload=True).optimizer == 0
    assert of(zero=0, offload=True).optimizer > 0


def test_an_adapter_has_gradients_and_moments_of_its_own_weights_alone():
    memory = of(trainable=LORA, processes=1, adapter="lora")
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * (ALL + LORA), 4 * LORA, 8 * LORA)
    assert of(trainable=LORA, processes=1, adapter="qlora").weights == ALL // 2 + 4 * LORA


def test_adafactor_and_sgd_keep_no_moments():
    assert of(optimizer="adafactor").optimizer == of(optimizer="sgd").optimizer == 0


def test_activations_grow_with_the_batch_and_the_lengths():
    kept = of(micro_batch_size=1, sequence_len=256, target_len=64).activations
    assert of(micro_batch_size=8, sequence_len=256, target_len=64).activations == 8 * kept
    assert of(micro_batch_size=1, sequence_len=512, target_len=64).activations > 2 * kept
    assert of(micro_batch_size=1, sequence_len=256, target_len=128).activations > kept
    assert of(micro_batch_size=1, sequence_len=256, target_len=64, bf16=False).activations > kept


def test_gradient_checkpointing_keeps_far_less():
    assert of(gradient_checkpointing=True).activations < of().activations / 3


def test_the_formula_is_what_the_layers_keep():
    recipe = {"micro_batch_size": 1, "sequence_len": 16, "target_len": 4}

    def attention(queries, keys):
        return queries * (3 * 768 + 2 * 768) * 2 + keys * 2 * 768 * 2 + 12 * queries * keys * 8

    def feed_forward(tokens):
        return tokens * (2 * 768 + 5 * 2048) * 2

    encoder = 12 * (attention(16, 16) + feed_forward(16))
    decoder = 12 * (attention(4, 4) + attention(4, 16) + feed_forward(4))
    assert of(**recipe).activations == encoder + decoder + 4 * 32128 * 10
