"""The sizes of a T5: its weights, and what it keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import ModelError
from summtune.machine.precision import Precision
from summtune.machine.stored_tensors import stored_tensors
from summtune.recipe.adapters import Adapter, LayerSize
from summtune.recipe.keys import TrainingSettings

_LARGEST = 2**31
"""Far above any size in a config.json; the number of weights is a product of a few of these."""


@dataclass(frozen=True)
class T5Shape:
    """The sizes of a T5 1.1 (FLAN-T5) model, by the names of its config.json.

    Args:
        vocab_size: rows of the embedding and of lm_head.
        d_model: width of the residual stream.
        d_kv: width of one attention head.
        d_ff: width of the gated feed-forward layer.
        num_layers: encoder layers.
        num_decoder_layers: decoder layers.
        num_heads: attention heads.
        buckets: relative position buckets.
        tied: whether lm_head is the embedding (it is not in FLAN-T5).
        gated: whether the feed-forward layer is gated (T5 1.1) or plain (T5 1.0).
    """

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    buckets: int = 32
    tied: bool = False
    gated: bool = True

    @property
    def parameters(self) -> int:
        """All weights: embeddings, attention, feed-forward, norms and position biases."""
        inner = self.num_heads * self.d_kv
        attention = 4 * self.d_model * inner
        feed_forward = (3 if self.gated else 2) * self.d_model * self.d_ff
        norm = self.d_model
        encoder = self.num_layers * (attention + feed_forward + 2 * norm) + norm
        decoder = self.num_decoder_layers * (2 * attention + feed_forward + 3 * norm) + norm
        positions = 2 * self.buckets * self.num_heads
        embeddings = (1 if self.tied else 2) * self.vocab_size * self.d_model
        return encoder + decoder + positions + embeddings

    @property
    def embedding(self) -> int:
        """Weights of the embedding."""
        return self.vocab_size * self.d_model

    @property
    def looked_up(self) -> int:
        """Weights that no matrix product reads: the embedding, unless lm_head shares it."""
        return 0 if self.tied else self.embedding

    @property
    def used_twice(self) -> int:
        """Weights that are used in two places: the embedding, by the encoder and the decoder."""
        return self.embedding

    @property
    def unquantized(self) -> int:
        """Weights that a quantized model keeps as they are: the embedding, lm_head, norms and position biases."""
        layers = (size for name, size in self.layer_sizes.items() if name != "lm_head")
        return self.parameters - sum(size.layers * size.inputs * size.outputs for size in layers)

    @property
    def largest_layer(self) -> int:
        """Weights of the largest layer: the embedding, and lm_head like it."""
        return max(self.vocab_size, self.d_ff) * self.d_model

    @property
    def layer_sizes(self) -> dict[str, LayerSize]:
        """The linear layers, by the end of their name."""
        inner = self.num_heads * self.d_kv
        attentions = self.num_layers + 2 * self.num_decoder_layers
        layers = self.num_layers + self.num_decoder_layers
        return {
            **dict.fromkeys(("q", "k", "v"), LayerSize(attentions, self.d_model, inner)),
            "o": LayerSize(attentions, inner, self.d_model),
            **dict.fromkeys(self._inner_projections, LayerSize(layers, self.d_model, self.d_ff)),
            "wo": LayerSize(layers, self.d_ff, self.d_model),
            "lm_head": LayerSize(1, self.d_model, self.vocab_size),
        }

    @property
    def _inner_projections(self) -> tuple[str, ...]:
        """The names of the layers that widen the feed-forward block."""
        return ("wi_0", "wi_1") if self.gated else ("wi",)

    @property
    def config(self) -> dict[str, Any]:
        """The part of config.json that names the kind of model."""
        return {"model_type": "t5"}

    def activations(self, recipe: TrainingSettings, adapter: Adapter | None, precision: Precision) -> int:
        """Return the bytes that the backward pass of one micro batch needs (Korthikanti et al., 2022, section 4).

        Each part keeps its input in fp32 and that normed, what each linear layer reads, and a dropout mask.
        """
        batch, source, target = recipe.micro_batch_size, recipe.sequence_len, recipe.target_len
        source += adapter.virtual_tokens if adapter else 0
        inner, size, trained = self.num_heads * self.d_kv, precision.activation, adapter is None
        sizes = self.layer_sizes

        def read(*layers: str) -> int:
            """Return the bytes per token that layers with one input keep of it: autocast copies it for each."""
            if adapter is not None:
                return adapter.kept_bytes({layer: sizes[layer] for layer in layers}, size, precision.mask(4))
            return (len(layers) if precision.copies else 1) * sizes[layers[0]].inputs * size

        mask = precision.mask(size)
        normed = self.d_model * (4 + trained * precision.stream + mask)

        def attention(queries: int, keys: int, own: bool) -> int:
            # queries, keys, values in the precision of the position bias, their output; scores and probabilities in
            # fp32, and what dropout leaves of those
            projected = (queries + 2 * keys) * inner * precision.stream + queries * inner * size
            scores = self.num_heads * queries * keys * (4 + precision.stream + precision.mask(precision.stream))
            inputs = queries * read("q", "k", "v") if own else queries * read("q") + keys * read("k", "v")
            return queries * (normed + (read("o") if adapter else 0)) + inputs + projected + scores

        # The activation of a gated layer is composed of functions that keep their inputs; its product is dropped at
        # random, and then read.
        composed = self.d_ff * ((6 if self.gated else 1) * size + mask)
        feed_forward = normed + read(*self._inner_projections) + composed + read("wo")

        encoder_layer = batch * (attention(source, source, True) + source * feed_forward)
        decoder_layer = batch * (
            attention(target, target, True) + attention(target, source, False) + target * feed_forward
        )
        # as computed, in fp32 for the loss, and their gradient
        logits = batch * target * (self.vocab_size * (size + 8) + (read("lm_head") if adapter else 0))
        if recipe.gradient_checkpointing:
            tokens = source * self.num_layers + target * self.num_decoder_layers
            return batch * self.d_model * precision.stream * tokens + max(encoder_layer, decoder_layer) + logits
        return encoder_layer * self.num_layers + decoder_layer * self.num_decoder_layers + logits


def read_t5_shape(config: Mapping[str, Any], folder: Path) -> T5Shape | None:
    """Return the shape of a local T5; None for another model, or if a size is missing.

    Args:
        config: the content of its config.json.
        folder: with its weights.

    Raises:
        ModelError: a file that ends in .safetensors is not one, or a size in config.json is not a valid number.
    """
    if config.get("model_type") not in ("t5", "mt5"):
        return None
    if not {"num_layers", "vocab_size", "d_model", "d_kv", "d_ff", "num_heads"} <= set(config):
        return None

    def size(key: str, default: int | None = None) -> int:
        value = default if config.get(key) is None else config[key]
        if type(value) is not int or not 0 < value < _LARGEST:
            raise ModelError(
                f"{key} of a T5 model must be a whole number from 1 to {_LARGEST - 1:,} (got {value!r:.60} in "
                f"{folder / 'config.json'}); copy the model again"
            )
        return value

    layers = size("num_layers")
    return T5Shape(
        vocab_size=size("vocab_size"),
        d_model=size("d_model"),
        d_kv=size("d_kv"),
        d_ff=size("d_ff"),
        num_layers=layers,
        num_decoder_layers=size("num_decoder_layers", layers),
        num_heads=size("num_heads"),
        buckets=size("relative_attention_num_buckets", 32),
        tied="lm_head.weight" not in stored_tensors(folder),
        gated=str(config.get("feed_forward_proj", "relu")).startswith("gated"),
    )
