"""Decoder-only models (Llama, Qwen, Mistral, Gemma, Phi, GPT-2, …): the summary continues the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from summtune.recipe.families.facts import LayerNames, Limit, is_id, kind


def _fused(projection: str, feed_forward: str) -> LayerNames:
    return LayerNames((projection,), (projection,), (projection,), (feed_forward,))


_LLAMA = LayerNames(("q_proj",), ("k_proj",), ("v_proj",), ("down_proj",))
_LAYERS: dict[str, LayerNames] = {
    **dict.fromkeys(
        (
            "cohere", "cohere2", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "granite", "helium",
            "llama", "ministral", "ministral3", "mistral", "nemotron", "olmo", "olmo2", "olmo3", "qwen2", "qwen3",
            "seed_oss", "smollm3", "stablelm",
        ),
        _LLAMA,
    ),
    "phi": LayerNames(("q_proj",), ("k_proj",), ("v_proj",), ("fc2",)),
    "starcoder2": LayerNames(("q_proj",), ("k_proj",), ("v_proj",), ("c_proj",)),
    "opt": LayerNames(("q_proj",), ("k_proj",), ("v_proj",), ("fc2",)),
    # One matrix holds queries, keys and values.
    "gpt2": _fused("c_attn", "mlp.c_proj"),
    "gpt_bigcode": _fused("c_attn", "mlp.c_proj"),
    **dict.fromkeys(("bloom", "falcon", "gpt_neox"), _fused("query_key_value", "dense_4h_to_h")),
    "phi3": _fused("qkv_proj", "down_proj"),
}  # fmt: skip
# Models whose layers have other names: adapters have no default on some of them.
_OTHERS = frozenset((
    "apertus", "arcee", "codegen", "gpt-sw3", "gpt_neo", "gpt_oss", "gptj", "lfm2", "mixtral", "mpt", "olmoe", "phimoe",
    "qwen2_moe", "qwen3_moe", "xglm",
))  # fmt: skip
_POSITIONS = ("max_position_embeddings", "n_positions")


def recognizes(config: Mapping[str, Any]) -> bool:
    """Return whether a model writes text that continues its prompt."""
    return kind(config) in _LAYERS or kind(config) in _OTHERS


def auto_class() -> str:
    """Return the name of the transformers class that loads such a model."""
    return "AutoModelForCausalLM"


def generate_arguments(_model_type: str | None) -> str:
    """Return no further argument."""
    return ""


def embeddings() -> frozenset[str]:
    """Return the names of the embedding matrices of such models."""
    return frozenset(("embed_tokens", "wte", "wpe", "embed_in", "embed_positions", "word_embeddings"))


def layer_names(config: Mapping[str, Any], linear: tuple[str, ...]) -> LayerNames:
    """Return the names of the model's layers; LoRA targets all linear layers but the head."""
    return _LAYERS.get(kind(config), LayerNames())._replace(linear=linear, lora=linear)


def continues_prompt() -> bool:
    """Return True: prompt and summary are one sequence."""
    return True


def prompt_limit(config: Mapping[str, Any]) -> Limit | None:
    """Return the most tokens of a prompt and its summary together; None if there is no limit or it is unknown."""
    return next(
        (Limit(config[key], key, config[key]) for key in _POSITIONS if is_id(config.get(key)) and config[key]), None
    )


def summary_limit(config: Mapping[str, Any]) -> Limit | None:
    """Return the same."""
    return prompt_limit(config)


def start(_config: Mapping[str, Any], _generation: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return no token: a summary starts after its prompt."""
    return "bos_token_id", None


def missing_start(_config: Mapping[str, Any], _complete: bool, _where: Path) -> str | None:
    """Return None: a summary needs no token to start from."""
    return None
