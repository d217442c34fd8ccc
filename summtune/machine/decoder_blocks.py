"""How the layers of each decoder-only architecture are built, as far as weights and memory depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Norm = Literal["rms", "rms_fp32", "layer", "bare"]
"""RMS norm; one that multiplies by its weights in fp32; layer norm with weights and biases; layer norm without."""


class Keys(NamedTuple):
    """The names under which config.json has the sizes."""

    width: str = "hidden_size"
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    inner: str = "intermediate_size"


class Block(NamedTuple):
    """The layers of an architecture, by the ends of their names in its checkpoint.

    Args:
        attention: the projections into the attention: of queries, keys, values; or of all three.
        output: the projection out of it.
        widening: the projections into the feed-forward block: gate and up; or both in one; or one without a gate.
        narrowing: the projection out of it.
        gated: whether the feed-forward block has a gate.
        norm: kind of the norms.
        norms: of a layer, over its width.
        head_norm: norms of queries and keys, over each head or all of them.
        parallel: attention and feed-forward block read the same input, if config.json does not contradict.
        biases: each key of config.json, or "always", and the projections that have biases then.
        positions: key with the rows of a table of learned positions; None without one.
        softmax: attention computes all scores at once, because it caps them.
        rotates_fused: queries and keys are rotated out of one matrix, which the values keep alive.
        joins: queries are joined of a part that is rotated and one that is not, so that the output is copied.
        defaults: what the architecture's class takes for a missing key.
        keys: of the sizes.
    """

    attention: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    output: str = "o_proj"
    widening: tuple[str, ...] = ("gate_proj", "up_proj")
    narrowing: str = "down_proj"
    gated: bool = True
    norm: Norm = "rms"
    norms: int = 2
    head_norm: Literal["head", "all"] | None = None
    parallel: bool = False
    biases: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    positions: str | None = None
    softmax: bool = False
    rotates_fused: bool = False
    joins: bool = False
    defaults: Mapping[str, Any] = MappingProxyType({})
    keys: Keys = Keys()


_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
_ATTENTION_BIAS = {"attention_bias": _ATTENTION}
_LLAMA = Block(biases=_ATTENTION_BIAS | {"mlp_bias": _FEED_FORWARD})
_GEMMA = Block(norm="rms_fp32", biases=_ATTENTION_BIAS, defaults={"tie_word_embeddings": True, "head_dim": 256})
_OLMO = Block(biases=_ATTENTION_BIAS)

BLOCKS: Mapping[str, Block] = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "smollm3": _LLAMA._replace(defaults={"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "mistral": Block(defaults={"num_key_value_heads": 8}),
    "ministral": Block(defaults={"num_key_value_heads": 8}),
    "ministral3": Block(defaults={"num_key_value_heads": 8, "head_dim": 128}),
    "qwen2": Block(biases={"always": _ATTENTION[:3]}, defaults={"num_key_value_heads": 32}),
    "qwen3": Block(head_norm="head", biases=_ATTENTION_BIAS, defaults={"num_key_value_heads": 32, "head_dim": 128}),
    "gemma": _GEMMA._replace(defaults={**_GEMMA.defaults, "num_key_value_heads": 16}),
    "gemma2": _GEMMA._replace(norms=4, softmax=True, defaults={**_GEMMA.defaults, "num_key_value_heads": 4}),
    "gemma3_text": _GEMMA._replace(norms=4, head_norm="head", defaults={**_GEMMA.defaults, "num_key_value_heads": 4}),
    "olmo": _OLMO._replace(norm="bare"),
    "olmo2": _OLMO._replace(norm="rms_fp32", head_norm="all"),
    "olmo3": _OLMO._replace(norm="rms_fp32", head_norm="all"),
    "phi3": Block(attention=("qkv_proj",), widening=("gate_up_proj",), rotates_fused=True, joins=True),
    "phi": Block(
        output="dense",
        widening=("fc1",),
        narrowing="fc2",
        gated=False,
        norm="layer",
        norms=1,
        parallel=True,
        joins=True,
        biases={"always": ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2", "lm_head")},
    ),
    "starcoder2": Block(
        widening=("c_fc",),
        narrowing="c_proj",
        gated=False,
        norm="layer",
        biases={"use_bias": (*_ATTENTION, "c_fc", "c_proj")},
        defaults={"use_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 2},
    ),
    "gpt_neox": Block(
        attention=("query_key_value",),
        output="dense",
        widening=("dense_h_to_4h",),
        narrowing="dense_4h_to_h",
        gated=False,
        norm="layer",
        parallel=True,
        biases={
            "attention_bias": ("query_key_value", "dense"),
            "always": ("dense_h_to_4h", "dense_4h_to_h"),
        },
        rotates_fused=True,
        joins=True,
        defaults={"attention_bias": True, "use_parallel_residual": True},
    ),
    "gpt2": Block(
        attention=("c_attn",),
        output="c_proj",
        widening=("c_fc",),
        narrowing="c_proj",
        gated=False,
        norm="layer",
        biases={"always": ("c_attn", "c_proj", "c_fc")},
        positions="n_positions",
        defaults={"tie_word_embeddings": True, "resid_pdrop": 0.1},
        keys=Keys("n_embd", "n_layer", "n_head", "n_inner"),
    ),
}
"""By model_type."""
