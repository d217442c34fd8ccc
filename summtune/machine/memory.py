"""Estimates the memory that training needs on each device, before any process is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from summtune.deepspeed.zero_memory import Sharding, zero2_needs, zero3_needs
from summtune.machine.devices import Gpu
from summtune.machine.model_shapes import T5Shape
from summtune.recipe.keys import TrainRecipe


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device, and in the host's memory.

    Args:
        weights: the parameters that the forward and backward passes use, gathered ones included.
        gradients: one per trainable parameter.
        optimizer: the optimizer's state and any fp32 master weights.
        buffers: for reducing gradients.
        activations: what is kept for the backward pass of one micro batch, at sequence_len and target_len.
        offloaded: what CPU offload keeps in host memory per device.
        host: host memory that DeepSpeed expects on each node, with its reserve of one half; 0 without offload.
    """

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int
    offloaded: int = 0
    host: int = 0

    @property
    def total(self) -> int:
        """Bytes that a device holds in all."""
        return self.weights + self.gradients + self.optimizer + self.buffers + self.activations


def takes_bf16(recipe: TrainRecipe, gpus: Sequence[Gpu], device: str) -> bool:
    """Return whether an estimate assumes bfloat16.

    Args:
        recipe: sets ``bf16``, or leaves it at ``auto``: if the hardware supports it.
        gpus: those that train; empty if they cannot be seen from this machine, and then assumed to support bfloat16.
        device: "cuda" or "cpu"; whether a CPU supports bfloat16 is found out only in the worker processes.
    """
    if recipe.bf16 != "auto":
        return recipe.bf16
    return device == "cuda" and all(gpu.capability >= (8, 0) for gpu in gpus)


def estimate(
    recipe: TrainRecipe, shape: T5Shape, trainable: int, processes: int, sharding: Sharding, bf16: bool, nodes: int = 1
) -> MemoryEstimate:
    """Return the estimate for a training recipe.

    The model states are those of DeepSpeed's estimators (`summtune.deepspeed.zero_memory`). They assume that all
    weights are trained, in bf16; here the same terms also cover frozen weights (LoRA) and fp32. Added to them is what
    the estimators omit and `benchmarks/memory.py` measures: the buffers in which gradients are reduced, and the
    weights that ZeRO-3 keeps gathered (all of them, for a model below stage3_max_live_parameters). Activations are
    what each layer keeps (Korthikanti et al., 2022, section 4, with T5's sizes), so they are an upper bound for
    batches shorter than sequence_len; the framework's overhead (about 1 GB per CUDA process) is not included.

    Args:
        recipe: of the training.
        shape: the model's sizes.
        trainable: number of trained weights.
        processes: number of devices among which the states are divided.
        sharding: what DeepSpeed divides.
        bf16: whether bfloat16 is used.
        nodes: number of machines.
    """
    activations = _activations(recipe, shape, 2 if bf16 else 4)
    moments = {"adafactor": 0, "sgd": 0}.get(recipe.optimizer, 8) * trainable
    if sharding.stage is None:
        return _without_deepspeed(recipe, shape, trainable, processes, moments, bf16, activations)
    size = 2 if bf16 else 4
    weights = (shape.parameters + (trainable if recipe.adapter else 0)) * size
    if recipe.adapter == "qlora":
        weights = shape.parameters // 2 + trainable * size
    # The fp32 copy that is updated, and its fp32 gradient at the update.
    optimizer = moments + (4 * trainable if bf16 or sharding.stage >= 1 else 0)
    gradients, at_update = size * trainable, 4 * trainable
    gathered, offloaded = 0, 0
    if sharding.stage >= 1:
        optimizer, at_update = optimizer // processes, at_update // processes
    if sharding.stage >= 2:
        gradients //= processes
    if sharding.stage == 3:
        gathered = min(weights, size * sharding.live)
        weights //= processes
    if sharding.stage == 1 and not sharding.offload_optimizer and recipe.gradient_accumulation_steps == 1:
        # Measured: that gradient is allocated once the activations are freed.
        at_update = max(0, at_update - activations)
    gradients += at_update
    buffers = sharding.bucket * sharding.buckets * size
    if sharding.stage == 3:  # the largest layer while it is gathered, and its gradient while it is scattered
        buffers += 2 * size * shape.largest_layer
    if sharding.offload_optimizer:
        offloaded, optimizer, gradients = optimizer + gradients, 0, 0
        if sharding.stage < 3:  # DeepSpeed's temp_grad_buffer on both sides, and the send buffer of updated weights
            largest = min(shape.largest_layer, trainable) * size
            buffers += largest
            offloaded += largest + size * trainable // processes
    if sharding.offload_weights:
        offloaded, weights = offloaded + weights, 0
    host = _host(shape, trainable, processes, nodes, sharding)
    return MemoryEstimate(weights + gathered, gradients, optimizer, buffers, activations, offloaded, host)


def _without_deepspeed(
    recipe: TrainRecipe, shape: T5Shape, trainable: int, processes: int, moments: int, bf16: bool, activations: int
) -> MemoryEstimate:
    """Return the estimate without DeepSpeed: bf16 means autocast over fp32 weights, or over an adapter's bf16 base."""
    if recipe.adapter is None:
        # Autocast keeps the bf16 copy of each weight from its first use to the end of the backward pass.
        copies = 2 * (shape.parameters - shape.vocab_size * shape.d_model) if bf16 else 0
        weights = 4 * shape.parameters + copies
    else:
        base = shape.parameters // 2 if recipe.adapter == "qlora" else shape.parameters * (2 if bf16 else 4)
        weights = base + trainable * (6 if bf16 else 4)
    gradients = 4 * trainable
    buffers = gradients if processes > 1 else 0  # DistributedDataParallel's buckets hold all gradients
    return MemoryEstimate(weights, gradients, moments, buffers, activations)


def _host(shape: T5Shape, trainable: int, processes: int, nodes: int, sharding: Sharding) -> int:
    """Return the bytes of host memory that DeepSpeed's estimator expects of each node under CPU offload."""
    if not sharding.offload_optimizer:
        return 0
    of_one_node = max(1, processes // nodes)
    if sharding.stage == 3:
        frozen = int((shape.parameters - trainable) * 2 * 1.5 / nodes) if sharding.offload_weights else 0
        needs = zero3_needs(trainable, shape.largest_layer, of_one_node, nodes, True, sharding.offload_weights)
        return needs[0] + max(0, frozen)
    return zero2_needs(trainable, of_one_node, nodes, True)[0]


def _activations(recipe: TrainRecipe, shape: T5Shape, size: int) -> int:
    """Return the bytes kept for the backward pass of one micro batch; ``size`` is the bytes per activation."""
    batch, source, target = recipe.micro_batch_size, recipe.sequence_len, recipe.target_len
    inner = shape.num_heads * shape.d_kv

    def attention(queries: int, keys: int) -> int:
        # normed input, q, k, v, context, dropout mask; scores in fp32, probabilities, their dropout mask
        return (
            queries * (3 * shape.d_model + 2 * inner) * size
            + keys * 2 * inner * size
            + (shape.num_heads * queries * keys * (4 + 2 * size))
            + adapters(queries, keys)
        )

    def feed_forward(tokens: int) -> int:
        # normed input, two projections, activation, their product, dropout masks
        return tokens * (2 * shape.d_model + (5 if shape.gated else 3) * shape.d_ff) * size

    def adapters(queries: int, keys: int) -> int:
        # peft applies a separate dropout to the fp32 input of every adapted layer: input and mask
        if recipe.adapter is None or not recipe.lora_dropout:
            return 0
        rows = {"q": queries, "k": keys, "v": keys, "o": queries}
        return sum(8 * shape.d_model * rows.get(target, 0) for target in recipe.lora_target_modules)

    encoder_layer = batch * (attention(source, source) + feed_forward(source))
    decoder_layer = batch * (attention(target, target) + attention(target, source) + feed_forward(target))
    logits = batch * target * shape.vocab_size * (size + 8)  # as computed, in fp32 for the loss, and their gradient
    if recipe.gradient_checkpointing:
        kept = batch * shape.d_model * size * (source * shape.num_layers + target * shape.num_decoder_layers)
        return kept + max(encoder_layer, decoder_layer) + logits
    return encoder_layer * shape.num_layers + decoder_layer * shape.num_decoder_layers + logits
