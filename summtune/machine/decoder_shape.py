"""The sizes of a decoder-only model: its weights, and what it keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import ModelError
from summtune.machine.decoder_blocks import BLOCKS, Block
from summtune.machine.precision import Precision
from summtune.recipe.adapters import Adapter, LayerSize
from summtune.recipe.keys import TrainingSettings

_LARGEST = 2**31
"""Far above any size in a config.json; the number of weights is a product of a few of these."""
_FP32 = 4
# Activation functions that are composed of several in Python, each of which keeps its input.
_COMPOSED = frozenset(("gelu_new", "gelu_fast", "gelu_accurate"))
# Weights of a norm for each element of its input.
_NORM_WEIGHTS = {"rms": 1, "rms_fp32": 1, "layer": 2, "bare": 0}


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a decoder-only model.

    Args:
        kind: its model_type.
        vocab_size: rows of the embedding and of lm_head.
        width: of the residual stream.
        layers: number of layers.
        heads: attention heads of the queries.
        kv_heads: those of keys and values, which groups of queries share.
        head_dim: width of one head.
        inner: width of the feed-forward block.
        tied: whether lm_head is the embedding.
        biased: the projections with biases.
        positions: rows of the table of learned positions.
        composed: whether the activation function is composed of several that each keep their input.
        dropout: whether the outputs of attention and feed-forward block are dropped at random.
        parallel: whether attention and feed-forward block read the same input.
    """

    kind: str
    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    tied: bool = False
    biased: frozenset[str] = frozenset()
    positions: int = 0
    composed: bool = False
    dropout: bool = False
    parallel: bool = False

    @property
    def parameters(self) -> int:
        """All weights: embeddings, projections, their biases, and norms."""
        of_norm = _NORM_WEIGHTS[self._block.norm]
        norms = (self.layers * self._block.norms + 1) * self.width * of_norm
        match self._block.head_norm:
            case "head":
                norms += self.layers * 2 * self.head_dim
            case "all":
                norms += self.layers * (self._queries + self._keys)
            case None:
                pass
        matrices = (size for name, size in self._projections() if name != "lm_head" or not self.tied)
        projections = sum(size.layers * size.inputs * size.outputs for size in matrices)
        return projections + self._biases() + norms + self.embedding + self.positions * self.width

    @property
    def embedding(self) -> int:
        """Weights of the embedding."""
        return self.vocab_size * self.width

    @property
    def looked_up(self) -> int:
        """Weights that no matrix product reads: the embedding, unless lm_head shares it, and learned positions."""
        return (0 if self.tied else self.embedding) + self.positions * self.width

    @property
    def used_twice(self) -> int:
        """Weights that are used in two places: the embedding, if lm_head shares it."""
        return self.embedding if self.tied else 0

    @property
    def unquantized(self) -> int:
        """Weights that a quantized model keeps as they are: the embedding, lm_head and what is no matrix."""
        layers = (size for name, size in self._projections() if name != "lm_head")
        return self.parameters - sum(size.layers * size.inputs * size.outputs for size in layers)

    @property
    def largest_layer(self) -> int:
        """Weights of the largest layer: the embedding, or a projection of a model with few tokens."""
        return max(self.embedding, *(size.inputs * size.outputs for _, size in self._projections()))

    @property
    def layer_sizes(self) -> dict[str, LayerSize]:
        """The linear layers, by the end of their name.

        Where two share it, as in GPT-2, their mean, so that sums over inputs and outputs are right.
        """
        sizes: dict[str, LayerSize] = {}
        for name, size in self._projections():
            if name in sizes:
                first = sizes[name]
                inputs, outputs = (first.inputs + size.inputs) // 2, (first.outputs + size.outputs) // 2
                sizes[name] = LayerSize(first.layers + size.layers, inputs, outputs)
            else:
                sizes[name] = size
        return sizes

    @property
    def config(self) -> dict[str, Any]:
        """The part of config.json that names the kind of model."""
        return {"model_type": self.kind}

    def activations(self, recipe: TrainingSettings, adapter: Adapter | None, precision: Precision) -> int:
        """Return the bytes that the backward pass of one micro batch needs.

        A sequence is a prompt and its summary but for the last token, and only the logits of summaries are computed.
        """
        of_sequence = recipe.sequence_len + recipe.target_len - 1 + (adapter.virtual_tokens if adapter else 0)
        tokens, targets = recipe.micro_batch_size * of_sequence, recipe.micro_batch_size * recipe.target_len
        layer = tokens * self._kept_by_layer(adapter, precision, of_sequence)
        # The loss needs its logits in fp32, their logarithms, and the gradient of either; then that of lm_head.
        logits = targets * self.vocab_size * 3 * _FP32
        if adapter is None:
            logits = max(logits, (targets * self.vocab_size + self.embedding) * _FP32)
        # Gradients on the way through a feed-forward block: of its product and of both factors.
        passing = tokens * 3 * self.inner * precision.activation
        if recipe.gradient_checkpointing:
            return self.layers * tokens * self.width * precision.stream + max(logits, layer + passing)
        return self.layers * layer + max(logits, passing)

    @property
    def _block(self) -> Block:
        return BLOCKS[self.kind]

    @property
    def _queries(self) -> int:
        return self.heads * self.head_dim

    @property
    def _keys(self) -> int:
        return self.kv_heads * self.head_dim

    def _projections(self) -> Iterator[tuple[str, LayerSize]]:
        block = self._block
        queries, keys = self._queries, self._keys
        widths = (queries, keys, keys) if len(block.attention) > 1 else (queries + 2 * keys,)
        for name, outputs in zip(block.attention, widths, strict=True):
            yield name, LayerSize(self.layers, self.width, outputs)
        yield block.output, LayerSize(self.layers, queries, self.width)
        fused = block.gated and len(block.widening) == 1
        for name in block.widening:
            yield name, LayerSize(self.layers, self.width, (1 + fused) * self.inner)
        yield block.narrowing, LayerSize(self.layers, self.inner, self.width)
        yield "lm_head", LayerSize(1, self.width, self.vocab_size)

    def _biases(self) -> int:
        return sum(size.layers * size.outputs for name, size in self._projections() if name in self.biased)

    def _kept_by_layer(self, adapter: Adapter | None, precision: Precision, keys: int) -> int:
        """Return the bytes that a layer keeps for each token.

        Args:
            adapter: what is trained; None for all weights.
            precision: of the training.
            keys: tokens that each query attends to.
        """
        block, size, trained = self._block, precision.activation, adapter is None
        norms = self._inputs_of_norms * self._kept_by_norm(self.width, trained, precision.stream)
        if block.head_norm is not None:
            norms += self._kept_by_norm(self._queries + self._keys, trained, size)
        # Queries, keys, values, output, and a sum of exponentials for each head.
        attention = (2 * self._queries + 2 * self._keys) * size + self.heads * _FP32
        if block.rotates_fused:
            attention += (self._queries + self._keys) * size
        if block.joins:
            attention += self._queries * size
        if block.softmax:  # keys and values of each head; scores before and after the cap
            attention += 2 * (self._queries - self._keys) * size + 8 * self.heads * keys
        factors = 3 if block.gated else 1  # input of the activation, its output, what the gate multiplies it with
        feed_forward = (factors + 3 * self.composed) * self.inner * size
        dropped = 2 * self.width * precision.mask(size) if self.dropout else 0
        return norms + attention + feed_forward + dropped + self._kept_inputs(adapter, precision)

    @property
    def _inputs_of_norms(self) -> int:
        """How many different inputs the norms of a layer have."""
        return self._block.norms - (self.parallel and self._block.norms > 1)

    def _kept_by_norm(self, width: int, trained: bool, stream: int) -> int:
        """Return the bytes that a norm keeps for each token: its input in fp32, and that normed, if it has weights."""
        match self._block.norm:
            case "layer":
                return width * stream
            case "bare":
                return width * _FP32
            case "rms":
                return width * (_FP32 + trained * stream)
            case "rms_fp32":
                return width * (_FP32 + trained * _FP32)

    def _kept_inputs(self, adapter: Adapter | None, precision: Precision) -> int:
        """Return the bytes per token of the projections' inputs, which the gradients of their weights need.

        Layers with one input share it; autocast makes a copy in bf16 for each. The attention keeps its output anyway.
        """
        block, sizes = self._block, self.layer_sizes
        readers = [block.attention, block.widening]
        if self.parallel and block.norms == 1:
            readers = [block.attention + block.widening]
        if adapter is not None:
            groups = [*readers, (block.output,), (block.narrowing,)]
            mask = precision.mask(_FP32)
            return sum(
                adapter.kept_bytes({name: sizes[name] for name in names}, precision.activation, mask)
                for names in groups
            )
        copies = sum(map(len, readers)) if precision.copies else len(readers)
        return (copies * self.width + self.inner) * precision.activation


def read_decoder_shape(config: Mapping[str, Any], where: Path) -> DecoderShape | None:
    """Return the shape of a decoder-only model; None for another or a quantized model, or if a size is missing.

    Args:
        config: the content of its config.json.
        where: that file, for messages.

    Raises:
        ModelError: a size is not a valid number.
    """
    if "quantization_config" in config:
        return None
    if isinstance(part := config.get("text_config"), Mapping):
        config = part
    kind = config.get("model_type")
    block = BLOCKS.get(kind) if isinstance(kind, str) else None
    if block is None or config.get("qk_layernorm") or config.get("add_cross_attention"):
        return None
    keys = block.keys
    if not {"vocab_size", keys.width, keys.layers, keys.heads} <= set(config):
        return None

    def value(key: str) -> Any:
        given = config.get(key)
        return block.defaults.get(key) if given is None else given

    def size(key: str, default: int | None = None) -> int:
        given = default if value(key) is None else value(key)
        if type(given) is not int or not 0 < given < _LARGEST:
            raise ModelError(
                f"{key} of a {kind} model must be a whole number from 1 to {_LARGEST - 1:,} (got {given!r:.60} in "
                f"{where}); copy the model again"
            )
        return given

    width, heads = size(keys.width), size(keys.heads)
    if value(keys.inner) is None and kind != "gpt2":
        return None
    activation = config.get("hidden_act", config.get("hidden_activation", config.get("activation_function")))
    return DecoderShape(
        kind=str(kind),
        vocab_size=size("vocab_size"),
        width=width,
        layers=size(keys.layers),
        heads=heads,
        kv_heads=size("num_key_value_heads", heads),
        head_dim=size("head_dim", max(1, width // heads)),
        inner=size(keys.inner, 4 * width),
        tied=bool(value("tie_word_embeddings")),
        biased=frozenset(
            name for key, names in block.biases.items() if key == "always" or value(key) for name in names
        ),
        positions=size(block.positions, 1024) if block.positions else 0,
        composed=activation in _COMPOSED or (activation is None and kind in ("gpt2", "phi")),
        dropout=bool(value("resid_pdrop")),
        parallel=block.parallel and value("use_parallel_residual") is not False,
    )
