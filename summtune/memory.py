"""Estimates the memory that training needs on each device, before anything is started."""

from __future__ import annotations

from dataclasses import dataclass

from summtune.architecture import T5Shape
from summtune.recipe import Recipe


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device.

    Args:
        weights: the parameters that forward and backward compute with.
        gradients: one for each trainable parameter.
        optimizer: the optimizer's state, and fp32 master weights where there are any.
        activations: what the backward pass keeps of one micro batch, at sequence_len and target_len.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate(
    recipe: Recipe, shape: T5Shape, trainable: int, processes: int, zero_stage: int, offload: bool, bf16: bool
) -> MemoryEstimate:
    """Return the estimate for a training recipe.

    The model states follow Rajbhandari et al., "ZeRO" (2020), section 3: with DeepSpeed in bf16, 2 bytes a weight, 2
    a gradient and K = 12 for an fp32 copy with Adam's two moments; ZeRO-1 divides the optimizer's part by the
    processes, ZeRO-2 the gradients too, ZeRO-3 the weights too. Without DeepSpeed bf16 is autocast over fp32 weights:
    4 + 4 + 8. The activations count what each layer keeps (Korthikanti et al., 2022, section 4, with T5's own sizes),
    so they are an upper bound for batches shorter than sequence_len, and leave out the framework's own overhead
    (about 1 GB a CUDA process).

    Args:
        recipe: a recipe of kind train.
        shape: the model's sizes.
        trainable: weights that are trained.
        processes: devices that the states are divided over.
        zero_stage: 0 without DeepSpeed.
        offload: whether the optimizer's state is kept in the host's memory.
        bf16: whether bfloat16 is used.
    """
    moments = {"adafactor": 0, "sgd": 0}.get(recipe.optimizer, 8)
    half = bf16 and zero_stage > 0
    # A frozen base model (LoRA) keeps no gradient, no moments and, in DeepSpeed, no master copy.
    weights = shape.parameters * (2 if half else 4) + (0 if recipe.adapter is None else trainable * (2 if half else 4))
    if recipe.adapter == "qlora":
        weights = shape.parameters // 2 + trainable * 4
    gradients = trainable * (2 if half else 4)
    optimizer = trainable * (moments + (4 if half else 0))
    if zero_stage >= 1:
        optimizer = 0 if offload else optimizer // processes
    if zero_stage >= 2:
        gradients //= processes
    if zero_stage >= 3:
        weights //= processes
    return MemoryEstimate(weights, gradients, optimizer, _activations(recipe, shape, 2 if bf16 else 4))


def _activations(recipe: Recipe, shape: T5Shape, size: int) -> int:
    """Bytes kept for the backward pass of one micro batch; ``size`` is the bytes of an activation."""
    batch, source, target = recipe.micro_batch_size, recipe.sequence_len, recipe.target_len
    inner = shape.num_heads * shape.d_kv

    def attention(queries: int, keys: int) -> int:
        # normed input, q, k, v, context, dropout mask; scores in fp32, probabilities, their dropout mask
        return (
            queries * (3 * shape.d_model + 2 * inner) * size
            + keys * 2 * inner * size
            + (shape.num_heads * queries * keys * (4 + 2 * size))
        )

    def feed_forward(tokens: int) -> int:
        # normed input, two projections, activation, their product, dropout masks
        return tokens * (2 * shape.d_model + (5 if shape.gated else 3) * shape.d_ff) * size

    encoder_layer = batch * (attention(source, source) + feed_forward(source))
    decoder_layer = batch * (attention(target, target) + attention(target, source) + feed_forward(target))
    logits = batch * target * shape.vocab_size * (size + 8)  # as computed, in fp32 for the loss, and their gradient
    if recipe.gradient_checkpointing:
        kept = batch * shape.d_model * size * (source * shape.num_layers + target * shape.num_decoder_layers)
        return kept + max(encoder_layer, decoder_layer) + logits
    return encoder_layer * shape.num_layers + decoder_layer * shape.num_decoder_layers + logits
