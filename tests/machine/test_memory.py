"""The memory estimate: model states agree with DeepSpeed's estimators, activations grow with batch and lengths."""

import pytest
from made_up_recipes import train_recipe

from summtune.base.places import package_path
from summtune.deepspeed.configs import read_ds_config, sized
from summtune.deepspeed.zero_memory import Sharding, zero2_needs, zero3_needs
from summtune.machine.devices import Gpu
from summtune.machine.memory import estimate, takes_bf16
from summtune.machine.model_shapes import KNOWN_MODELS
from summtune.recipe.adapters import adapter_of
from summtune.recipe.families import layer_names

SHAPE = KNOWN_MODELS["google/flan-t5-base"]
ALL = SHAPE.parameters
LORA = 3_538_944
UNQUANTIZED = 2 * SHAPE.embedding + 62 * 768 + 2 * 32 * 12  # with 62 norms and two position biases
NF4 = (ALL - UNQUANTIZED) // 2 + (ALL - UNQUANTIZED) // 64
# Activations are smaller than gradients.
FEW = {"micro_batch_size": 1, "sequence_len": 16, "target_len": 4}
NONE = Sharding()


def zero(name, trainable=ALL):
    return Sharding.of(sized(read_ds_config(package_path(f"ds_configs/{name}.json")), trainable))


def of(processes=4, sharding=NONE, bf16=True, nodes=1, device="cpu", **keys):
    recipe = train_recipe(**keys)
    adapter = adapter_of(recipe, layer_names(SHAPE.config))
    return estimate(recipe, SHAPE, adapter, processes, sharding, bf16, nodes, device)


def states(memory):
    return memory.weights + memory.gradients + memory.optimizer


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_zero_2_in_bf16_is_deepspeeds_estimate(processes):
    memory = of(sharding=zero("zero2"), processes=processes, **FEW)
    assert memory.total - memory.buffers == pytest.approx(zero2_needs(ALL, processes, 1, False)[1], abs=8)
    offloaded = of(sharding=zero("zero2_offload"), processes=processes)
    assert (offloaded.host, states(offloaded)) == zero2_needs(ALL, processes, 1, True)


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_zero_3_in_bf16_is_deepspeeds_estimate_plus_gathered_weights(processes):
    # DeepSpeed's 18 bytes per weight and its largest layer omit 16-bit gradients and the weights that stay gathered.
    gathered = 2 * ALL + 2 * ALL // processes
    memory = of(sharding=zero("zero3"), processes=processes, **FEW)
    theirs = zero3_needs(ALL, 0, processes, 1, False, False)[1]
    assert memory.total - memory.buffers - gathered == pytest.approx(theirs, abs=8)
    offloaded = of(sharding=zero("zero3_offload"), processes=processes)
    assert offloaded.host == zero3_needs(ALL, 0, processes, 1, True, True)[0]
    assert (offloaded.weights, offloaded.gradients, offloaded.optimizer) == (2 * ALL, 0, 0)


def test_zero_1_divides_only_the_optimizer():
    memory = of(sharding=zero("zero1"))
    assert (memory.weights, memory.optimizer) == (2 * ALL, 12 * ALL // 4)


@pytest.mark.parametrize(("name", "parts"), [("zero1", 1), ("zero2", 4)])
def test_below_zero_3_gradients_take_the_place_of_activations_unless_they_accumulate(name, parts):
    in_bf16, at_update = 2 * ALL // parts, 4 * ALL // 4
    assert of(sharding=zero(name)).gradients == 0
    assert of(sharding=zero(name), gradient_accumulation_steps=2).gradients == in_bf16
    memory = of(sharding=zero(name), **FEW)
    assert memory.gradients + memory.activations == in_bf16 + at_update
    memory = of(sharding=zero(name), gradient_accumulation_steps=2, **FEW)
    assert memory.gradients + memory.activations == in_bf16 + at_update


def test_gathered_weights_are_limited_by_max_live_parameters():
    live = Sharding(stage=3, live=1_000_000)
    assert of(sharding=live).weights == 2_000_000 + 2 * ALL // 4


def test_buffers_hold_the_buckets_in_which_gradients_are_reduced():
    assert of(sharding=zero("zero2")).buffers == 2 * 25_000_000 * 2
    assert of(sharding=zero("zero1")).buffers == 25_000_000 * 2
    assert of(sharding=zero("zero2"), bf16=False).buffers == 2 * 25_000_000 * 4
    assert of(processes=2).buffers == 4 * ALL
    assert of(processes=1).buffers == 0


def test_zero_3_buffers_include_the_largest_layer():
    buckets = 2 * 25_000_000 * 2
    assert of(sharding=zero("zero3")).buffers == buckets + 4 * SHAPE.largest_layer, "as in DeepSpeed's estimate"
    assert SHAPE.largest_layer == 32128 * 768


def test_offload_below_zero_3_needs_room_for_a_layer_on_device_and_host():
    largest = 2 * SHAPE.largest_layer
    memory = of(sharding=zero("zero2_offload"))
    assert memory.buffers == 2 * 25_000_000 * 2 + largest
    gradients = (2 + 4) * ALL // 4
    assert memory.offloaded == 12 * ALL // 4 + gradients + largest + 2 * ALL // 4


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_in_fp32_keeps_a_second_copy_of_the_weights(stage):
    assert of(sharding=zero(f"zero{stage}"), processes=1, bf16=False).optimizer == 12 * ALL


def test_without_deepspeed_bf16_is_autocast_over_fp32():
    memory = of(processes=1)
    assert memory.optimizer == 8 * ALL
    assert memory.weights == 4 * ALL + 2 * (ALL - 32128 * 768)
    assert of(processes=1, bf16=False).weights == 4 * ALL
    assert of(processes=1).total == states(of(processes=1)) + of(processes=1).activations


def test_without_deepspeed_gradients_take_the_place_of_activations_unless_they_accumulate():
    few = {"processes": 1, **FEW}
    memory = of(**few, bf16=False)
    # The gradient of the embedding is the sum of the encoder's and the decoder's, which still exist.
    assert memory.gradients + memory.activations == 4 * (ALL + 2 * SHAPE.embedding)
    assert of(**few, bf16=False, gradient_accumulation_steps=2).gradients == memory.gradients
    memory = of(**few)
    copies = 2 * (ALL - SHAPE.embedding)
    assert memory.gradients + memory.activations == 4 * (ALL + SHAPE.embedding) - copies
    assert of(processes=1, gradient_accumulation_steps=2).gradients == 4 * ALL
    assert of(processes=1).gradients == 0 < 4 * ALL < of(processes=1).activations


def test_an_adapter_has_gradients_and_moments_of_adapter_weights_only():
    memory = of(processes=1, adapter="lora")
    assert (memory.weights, memory.optimizer) == (2 * ALL + 6 * LORA, 8 * LORA)
    assert of(processes=1, adapter="lora", bf16=False).weights == 4 * (ALL + LORA)
    sharded = of(processes=2, adapter="qlora", sharding=zero("zero2", LORA))
    assert sharded.weights == NF4 + 2 * UNQUANTIZED + 2 * LORA
    assert sharded.buffers == 2 * LORA * 2, "a bucket is no larger than the adapter"


def test_a_quantized_base_keeps_embedding_and_head_as_they_are():
    # Half a byte and a scale for each 64 weights; the rest in fp32, and autocast's copy of lm_head.
    copy = 2 * (UNQUANTIZED - SHAPE.embedding)
    assert of(processes=1, adapter="qlora").weights == NF4 + 4 * UNQUANTIZED + copy + 6 * LORA
    assert of(processes=1, adapter="qlora", bf16=False).weights == NF4 + 4 * UNQUANTIZED + 4 * LORA


def test_host_memory_of_an_offloaded_adapter_counts_adapter_and_frozen_weights():
    memory = of(adapter="lora", sharding=zero("zero2_offload", LORA))
    assert memory.host == zero2_needs(LORA, 4, 1, True)[0]
    frozen = of(adapter="lora", sharding=zero("zero3_offload", LORA))
    assert frozen.host == zero3_needs(LORA, 0, 4, 1, True, True)[0] + int((ALL - LORA) * 2 * 1.5)
    half = of(adapter="lora", sharding=zero("zero3_offload", LORA), processes=8, nodes=2)
    assert half.host == pytest.approx(frozen.host / 2, abs=4)


def test_adafactor_and_sgd_keep_no_moments():
    assert of(optimizer="adafactor").optimizer == of(optimizer="sgd").optimizer == 0


def test_activations_grow_with_the_batch_and_the_lengths():
    kept = of(micro_batch_size=1, sequence_len=256, target_len=64).activations
    assert of(micro_batch_size=8, sequence_len=256, target_len=64).activations == 8 * kept
    assert of(micro_batch_size=1, sequence_len=512, target_len=64).activations > 2 * kept
    assert of(micro_batch_size=1, sequence_len=256, target_len=128).activations > kept
    assert of(micro_batch_size=1, sequence_len=256, target_len=64, bf16=False).activations > kept


def test_an_adapter_with_dropout_keeps_its_inputs():
    lengths = {"micro_batch_size": 1, "sequence_len": 16, "target_len": 4, "adapter": "lora"}
    # q and v of the encoder, of the decoder, and q of 4 and v of 16 tokens between them; the mask in fp32
    tokens = 12 * (2 * 16 + 2 * 4 + 4 + 16)
    assert of(**lengths).activations - of(**lengths, lora_dropout=0.0).activations == tokens * 4 * 768


def test_gradient_checkpointing_keeps_less_than_a_third_of_the_activations():
    assert of(gradient_checkpointing=True).activations < of().activations / 3


def test_activations_are_the_sum_of_what_the_layers_keep():
    recipe = {"processes": 1, "micro_batch_size": 1, "sequence_len": 16, "target_len": 4}

    def attention(queries, keys, read):
        # input, normed input, dropout mask; queries, keys, values, output; scores, probabilities, what is left of them
        kept = queries * (4 + 4 + 2) * 768 + (4 * (queries + 2 * keys) + 2 * queries) * 768 + 12 * queries * keys * 12
        return kept + read * 2 * 768

    def feed_forward(tokens):
        return tokens * ((4 + 4 + 2) * 768 + 2 * 2 * 768 + 2 * 7 * 2048 + 2 * 2048)

    encoder = 12 * (attention(16, 16, 3 * 16) + feed_forward(16))
    decoder = 12 * (attention(4, 4, 3 * 4) + attention(4, 16, 4 + 2 * 16) + feed_forward(4))
    assert of(**recipe).activations == encoder + decoder + 4 * 32128 * 10


def test_a_gpu_keeps_a_byte_for_each_element_that_dropout_may_drop():
    lengths = {"micro_batch_size": 1, "sequence_len": 16, "target_len": 4, "adapter": "lora"}
    kept = {device: of(**lengths, device=device).activations for device in ("cpu", "cuda")}
    assert kept["cuda"] < kept["cpu"]
    lengths["lora_dropout"] = 0.0
    without = {device: of(**lengths, device=device).activations for device in ("cpu", "cuda")}
    inputs = 12 * (2 * 16 + 2 * 4 + 4 + 16) * 768
    assert (kept["cpu"] - without["cpu"], kept["cuda"] - without["cuda"]) == (4 * inputs, inputs)


@pytest.mark.parametrize(
    ("asked", "capabilities", "device", "expected"),
    [
        ("auto", [(8, 0), (9, 0)], "cuda", True),
        ("auto", [(8, 0), (7, 5)], "cuda", False),
        ("auto", [], "cuda", True),
        ("auto", [], "cpu", False),
        (True, [], "cpu", True),
        (True, [(7, 0)], "cuda", True),
        (False, [(8, 0)], "cuda", False),
    ],
)
def test_bf16_auto_depends_on_the_devices(asked, capabilities, device, expected):
    recipe = train_recipe(bf16=asked)
    gpus = [Gpu("GPU", 40 << 30, capability) for capability in capabilities]
    assert takes_bf16(recipe, gpus, device) is expected
