"""Estimates the memory that training needs on each device, before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from summtune.deepspeed.zero_memory import Sharding, zero2_needs, zero3_needs
from summtune.machine.devices import Gpu
from summtune.machine.model_shapes import ModelShape
from summtune.recipe.adapters import Adapter, Quantization, quantization_of
from summtune.recipe.keys import Recipe


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device, and in the host's memory.

    Args:
        weights: the parameters that forward and backward compute with, gathered ones included.
        gradients: one for each trainable parameter.
        optimizer: the optimizer's state, and fp32 master weights where there are any.
        buffers: what gradients are reduced in.
        activations: what the backward pass keeps of one micro batch, at sequence_len and target_len.
        offloaded: what CPU offload keeps in the host's memory for each device.
        host: what DeepSpeed expects each node to have for all of it, half as much again included; 0 without offload.
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
        """All of what a device holds."""
        return self.weights + self.gradients + self.optimizer + self.buffers + self.activations


def takes_bf16(recipe: Recipe, gpus: Sequence[Gpu], device: str) -> bool:
    """Return whether an estimate counts in bfloat16.

    Args:
        recipe: says so itself, or ``bf16: auto``: where the hardware has it.
        gpus: those that train; none where they cannot be seen from here, and are taken to have it.
        device: "cuda", or "cpu", whose bfloat16 only the processes look for.
    """
    if recipe.bf16 != "auto":
        return recipe.bf16
    return device == "cuda" and all(gpu.capability >= (8, 0) for gpu in gpus)


def estimate(
    recipe: Recipe,
    shape: ModelShape,
    adapter: Adapter | None,
    processes: int,
    sharding: Sharding,
    bf16: bool,
    nodes: int = 1,
) -> MemoryEstimate:
    """Return the estimate for a training recipe.

    The model states are those of DeepSpeed's estimators (`summtune.deepspeed.zero_memory`). They assume that all
    weights are trained, in bf16; here the same terms count frozen weights and fp32 too. Added is what the
    estimators leave out and `benchmarks/memory.py` measures: the buffers in which gradients are reduced, and the
    weights that ZeRO-3 keeps gathered (all of them, for a model below stage3_max_live_parameters). Activations count
    what each layer keeps (`ModelShape.activations`), so they are an upper bound for
    batches shorter than sequence_len; the framework's own overhead (about 1 GB a CUDA process) is left out.

    Args:
        recipe: a recipe of kind train.
        shape: the model's sizes.
        adapter: what is trained; None for all weights.
        processes: devices that the states are divided over.
        sharding: what DeepSpeed divides.
        bf16: whether bfloat16 is used.
        nodes: machines.
    """
    trainable = trained_weights(shape, adapter)
    assert trainable is not None, "the caller has sized the DeepSpeed config by them"
    quantization = quantization_of(recipe)
    activations = shape.activations(recipe, adapter, 2 if bf16 else 4)
    moments = {"adafactor": 0, "sgd": 0}.get(recipe.optimizer, 8) * trainable
    if sharding.stage is None:
        weights = _weights_without_deepspeed(shape, adapter, quantization, bf16)
        buffers = 4 * trainable if processes > 1 else 0  # DistributedDataParallel's buckets, for all gradients at once
        return MemoryEstimate(weights, 4 * trainable, moments, buffers, activations)
    size = 2 if bf16 else 4
    weights = (shape.parameters + (trainable if adapter else 0)) * size
    if quantization is not None:
        weights = quantization.weight_bytes(shape.parameters) + trainable * size
    # The copy that is updated, in fp32 too, and the gradient as it is added to that.
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
        # Measured: that copy is made when the activations are gone.
        at_update = max(0, at_update - activations)
    gradients += at_update
    buffers = sharding.bucket * sharding.buckets * size
    if sharding.stage == 3:  # the largest layer on its way in, and its gradient on its way out
        buffers += 2 * size * shape.largest_layer
    if sharding.offload_optimizer:
        offloaded, optimizer, gradients = optimizer + gradients, 0, 0
        if sharding.stage < 3:  # DeepSpeed's temp_grad_buffer on both sides, and what updated weights are sent from
            largest = min(shape.largest_layer, trainable) * size
            buffers += largest
            offloaded += largest + size * trainable // processes
    if sharding.offload_weights:
        offloaded, weights = offloaded + weights, 0
    host = _host(shape, trainable, processes, nodes, sharding)
    return MemoryEstimate(weights + gathered, gradients, optimizer, buffers, activations, offloaded, host)


def trained_weights(shape: ModelShape, adapter: Adapter | None) -> int | None:
    """Return how many weights are trained: all, or those of an adapter; None where they cannot be told."""
    return shape.parameters if adapter is None else adapter.parameters(shape.layer_sizes)


def _weights_without_deepspeed(
    shape: ModelShape, adapter: Adapter | None, quantization: Quantization | None, bf16: bool
) -> int:
    """Return the bytes of the weights in plain training: bf16 is autocast, over fp32 or over an adapter's bf16 base."""
    if adapter is None:
        # Autocast keeps the bf16 copy of each weight from its first product to the end of the backward pass.
        return 4 * shape.parameters + (2 * (shape.parameters - shape.embedding) if bf16 else 0)
    trainable = adapter.parameters(shape.layer_sizes) or 0
    frozen = shape.parameters * (2 if bf16 else 4)
    if quantization is not None:
        frozen = quantization.weight_bytes(shape.parameters)
    return frozen + trainable * (6 if bf16 else 4)


def _host(shape: ModelShape, trainable: int, processes: int, nodes: int, sharding: Sharding) -> int:
    """Return what DeepSpeed's estimator asks of each node under CPU offload, in bytes."""
    if not sharding.offload_optimizer:
        return 0
    of_one_node = max(1, processes // nodes)
    if sharding.stage == 3:
        frozen = int((shape.parameters - trainable) * 2 * 1.5 / nodes) if sharding.offload_weights else 0
        needs = zero3_needs(trainable, shape.largest_layer, of_one_node, nodes, True, sharding.offload_weights)
        return needs[0] + max(0, frozen)
    return zero2_needs(trainable, of_one_node, nodes, True)[0]
