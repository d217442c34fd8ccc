"""Estimates the memory that training needs on each device, before any process is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from summtune.deepspeed.zero_memory import Sharding, zero2_needs, zero3_needs
from summtune.machine.devices import Gpu
from summtune.machine.model_shapes import ModelShape
from summtune.machine.precision import Precision
from summtune.recipe.adapters import Adapter, Quantization, quantization_of
from summtune.recipe.keys import LocalRecipe, TrainingSettings


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device, and in the host's memory.

    Args:
        weights: the parameters that the forward and backward passes use, gathered ones included.
        gradients: one per trainable parameter, as far as they exist together with the activations.
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


def takes_bf16(recipe: TrainingSettings | LocalRecipe, gpus: Sequence[Gpu], device: str) -> bool:
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
    recipe: TrainingSettings,
    shape: ModelShape,
    adapter: Adapter | None,
    processes: int,
    sharding: Sharding,
    bf16: bool,
    nodes: int = 1,
    device: Literal["cuda", "cpu"] = "cuda",
) -> MemoryEstimate:
    """Return the estimate for a training recipe.

    The model states are those of DeepSpeed's estimators (`summtune.deepspeed.zero_memory`). They assume that all
    weights are trained, in bf16; here the same terms also cover frozen weights and fp32. Added is what the
    the estimators omit and `benchmarks/memory.py` measures: the buffers in which gradients are reduced, and the
    weights that ZeRO-3 keeps gathered (all of them, for a model below stage3_max_live_parameters). Activations are
    what each layer keeps (`ModelShape.activations`), so they are an upper bound for
    batches shorter than sequence_len; the framework's overhead (about 1 GB per CUDA process) is not included.

    Args:
        recipe: of the training.
        shape: the model's sizes.
        adapter: that is trained; None for all weights.
        processes: number of devices among which the states are divided.
        sharding: what DeepSpeed divides.
        bf16: whether bfloat16 is used.
        nodes: number of machines.
        device: that trains.
    """
    trainable = trained_weights(shape, adapter)
    assert trainable is not None, "the caller has sized the DeepSpeed config by them"
    quantization = quantization_of(recipe)
    activations = shape.activations(recipe, adapter, Precision(_numbers(adapter, quantization, sharding, bf16), device))
    moments = {"adafactor": 0, "sgd": 0}.get(recipe.optimizer, 8) * trainable
    if sharding.stage is None:
        weights = _weights_without_deepspeed(shape, adapter, quantization, bf16)
        buffers = 4 * trainable if processes > 1 else 0  # DistributedDataParallel's buckets hold all gradients
        gradients = _gradients_without_deepspeed(recipe, shape, adapter, activations, bf16)
        return MemoryEstimate(weights, gradients, moments, buffers, activations)
    size = 2 if bf16 else 4
    weights = (shape.parameters + (trainable if adapter else 0)) * size
    if quantization is not None:
        weights = _quantized(shape, quantization, size) + trainable * size
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
    if sharding.stage >= 1 and not sharding.offload_optimizer:
        # Measured: that gradient is allocated once the activations are freed. Below ZeRO-3 so are the others as they
        # are computed, unless those of earlier micro batches exist all the time.
        if sharding.stage < 3 and recipe.gradient_accumulation_steps == 1:
            gradients, at_update = 0, gradients + at_update
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


def trained_weights(shape: ModelShape, adapter: Adapter | None) -> int | None:
    """Return how many weights are trained: all, or those of an adapter; None if this is not known."""
    return shape.parameters if adapter is None else adapter.parameters(shape.layer_sizes)


def _weights_without_deepspeed(
    shape: ModelShape, adapter: Adapter | None, quantization: Quantization | None, bf16: bool
) -> int:
    """Return the bytes of weights without DeepSpeed: bf16 means autocast over fp32, or over an adapter's bf16 base."""
    if adapter is None:
        return 4 * shape.parameters + _copies(shape, bf16)
    trainable = adapter.parameters(shape.layer_sizes) or 0
    frozen = shape.parameters * (2 if bf16 else 4)
    if quantization is not None:
        # peft keeps the rest in fp32, and autocast copies lm_head.
        frozen = _quantized(shape, quantization, 4) + (2 * (shape.unquantized - shape.looked_up) if bf16 else 0)
    return frozen + trainable * (6 if bf16 else 4)


def _gradients_without_deepspeed(
    recipe: TrainingSettings, shape: ModelShape, adapter: Adapter | None, activations: int, bf16: bool
) -> int:
    """Return the bytes of gradients that exist besides the activations: the last ones, when no activations do any more.

    The gradient of weights with two uses is a sum, which exists besides its terms; in bf16 it takes the place of one.
    Autocast's copies of the weights, which count as weights, do not exist at the end.
    """
    own = 4 * (trained_weights(shape, adapter) or 0)
    at_the_end = own
    if adapter is None:
        at_the_end += 4 * shape.used_twice * (1 if bf16 else 2) - _copies(shape, bf16)
    earlier = own if recipe.gradient_accumulation_steps > 1 else 0  # of the micro batches before, all the time
    return max(earlier, at_the_end - activations)


def _copies(shape: ModelShape, bf16: bool) -> int:
    """Return the bytes of autocast's bf16 copies of weights, which exist from their first use to the backward pass."""
    return 2 * (shape.parameters - shape.looked_up) if bf16 else 0


def _quantized(shape: ModelShape, quantization: Quantization, size: int) -> int:
    """Return the bytes of a quantized model whose other weights have ``size`` bytes each."""
    return quantization.weight_bytes(shape.parameters - shape.unquantized) + size * shape.unquantized


def _numbers(
    adapter: Adapter | None, quantization: Quantization | None, sharding: Sharding, bf16: bool
) -> Literal["fp32", "autocast", "bf16"]:
    """Return how a training computes: DeepSpeed and an adapter have their (frozen) weights in bf16 too."""
    if not bf16:
        return "fp32"
    if sharding.stage is not None or (adapter is not None and quantization is None):
        return "bf16"
    return "autocast"


def _host(shape: ModelShape, trainable: int, processes: int, nodes: int, sharding: Sharding) -> int:
    """Return the bytes of host memory that DeepSpeed's estimator expects of each node under CPU offload."""
    if not sharding.offload_optimizer:
        return 0
    of_one_node = max(1, processes // nodes)
    if sharding.stage == 3:
        frozen = int((shape.parameters - trainable) * 2 * 1.5 / nodes) if sharding.offload_weights else 0
        needs = zero3_needs(trainable, shape.largest_layer, of_one_node, nodes, True, sharding.offload_weights)
        return needs[0] + max(0, frozen)
    return zero2_needs(trainable, of_one_node, nodes, True)[0]
