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
    "apertus", "arcee", "axk1", "bamba", "biogpt", "bitnet", "codegen", "dbrx", "deepseek_v2", "deepseek_v3",
    "deepseek_v32", "diffllama", "doge", "dots1", "ernie4_5", "ernie4_5_moe", "exaone_moe", "falcon_h1",
    "falcon_mamba", "flex_olmo", "gemma3n_text", "gemma4_text", "glm4_moe", "gpt-sw3", "gpt_neo",
    "gpt_oss", "gptj", "granitemoe", "granitemoehybrid", "granitemoeshared", "hunyuan_v1_dense",
    "hunyuan_v1_moe", "jamba", "jetmoe", "lfm2", "lfm2_moe", "llama4_text", "mamba", "mamba2", "minimax", "minimax_m2",
    "mixtral", "modernbert-decoder", "mpt", "nanochat", "nemotron_h", "olmo_hybrid", "olmoe", "persimmon",
    "phimoe", "qwen2_moe", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next", "recurrent_gemma",
    "solar_open", "vaultgemma", "xglm", "zamba", "zamba2",
))  # fmt: skip
# Models for several kinds of input, of which transformers loads the text part alone when asked for a language model.
_LOADED_ALONE = frozenset(("llama4", "qwen3_5", "qwen3_5_moe"))
# Models with a head for text whose states also depend on later tokens, or which are the decoder of a pair.
_NOT_LEFT_TO_RIGHT = frozenset((
    "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "blenderbot", "blenderbot-small", "camembert",
    "data2vec-text", "electra", "ernie", "marian", "mbart", "megatron-bert", "mvp", "pegasus", "plbart", "prophetnet",
    "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "trocr", "whisper", "xlm",
    "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod",
))  # fmt: skip
_HEADS = ("ForCausalLM", "LMHeadModel")
# What models for several kinds of input have in their config.
_OTHER_INPUTS = ("text_config", "vision_config", "audio_config", "thinker_config")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")


def recognizes(config: Mapping[str, Any]) -> bool:
    """Return whether a model writes text that continues its prompt.

    A model_type of a later version of transformers is known by its architecture.
    """
    name = kind(_text_part(config))
    if name in _LAYERS or name in _OTHERS:
        return name == kind(config) or "auto_map" not in config
    if config.get("is_encoder_decoder") or name in _NOT_LEFT_TO_RIGHT or takes_more_than_text(config):
        return False
    architectures = config.get("architectures")
    listed = architectures if isinstance(architectures, list) else []
    return "auto_map" not in config and any(isinstance(one, str) and one.endswith(_HEADS) for one in listed)


def no_adapter(config: Mapping[str, Any]) -> str | None:
    """Return why no adapter suits the text part of a model: other programs would load it onto the whole model."""
    if _text_part(config) is config or kind(config) in _LOADED_ALONE:
        return None
    return (
        "an adapter of the text part does not fit the whole model, which other programs load (got model_type "
        f"{kind(config)!r}); train all weights, or use a model that reads only text"
    )


def takes_more_than_text(config: Mapping[str, Any]) -> bool:
    """Return whether a model reads images or sounds too."""
    return any(isinstance(config.get(key), Mapping) for key in _OTHER_INPUTS)


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
    return _LAYERS.get(kind(_text_part(config)), LayerNames())._replace(linear=linear, lora=linear)


def continues_prompt() -> bool:
    """Return True: prompt and summary are one sequence."""
    return True


def prompt_limit(config: Mapping[str, Any]) -> Limit | None:
    """Return the most tokens of a prompt and its summary together; None if there is no limit or it is unknown.

    A sliding window is no limit: what has left it is still known to later layers.
    """
    config = _text_part(config)
    key = next((key for key in _POSITIONS if is_id(config.get(key)) and config[key]), None)
    if key is None:
        return None
    positions = config[key]
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    if isinstance(scaling, Mapping):
        # Scaled positions (YaRN) reach further than those of the training, which the config may still name.
        factor, trained = scaling.get("factor"), scaling.get("original_max_position_embeddings")
        if isinstance(factor, int | float) and is_id(trained):
            positions = max(positions, int(factor * trained))
    return Limit(positions, key, config[key])


def summary_limit(config: Mapping[str, Any]) -> Limit | None:
    """Return the same."""
    return prompt_limit(config)


def start(_config: Mapping[str, Any], _generation: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return no token: a summary starts after its prompt."""
    return "bos_token_id", None


def missing_start(_config: Mapping[str, Any], _complete: bool, _where: Path) -> str | None:
    """Return None: a summary needs no token to start from."""
    return None


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    part = config.get("text_config")
    return part if isinstance(part, Mapping) else config
