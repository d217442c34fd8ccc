"""Encoder-decoder models (T5, BART, Pegasus, LED, …): an encoder reads the prompt, a decoder writes the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from summtune.recipe.families.facts import LayerNames, Limit, first_id, is_id, kind

_T5 = LayerNames(("q",), ("k",), ("v",), ("wo",))
_BART = LayerNames(("q_proj",), ("k_proj",), ("v_proj",), ("fc2",))
_GEMMA = _BART._replace(feed_forward=("down_proj",))
# An encoder with attention windows has different layers; its decoder has those of BART.
_WINDOWS = LayerNames(("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("fc2",))
_BERT = LayerNames(("query",), ("key",), ("value",), ("output.dense",))
_LAYERS: dict[str, LayerNames] = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "switch_transformers"), _T5),
    **dict.fromkeys(
        (
            "bart", "blenderbot", "blenderbot-small", "fsmt", "m2m_100", "marian", "mbart", "mvp", "nllb-moe",
            "pegasus", "pegasus_x", "plbart",
        ),
        _BART,
    ),
    **dict.fromkeys(("t5gemma", "t5gemma2"), _GEMMA),
    **dict.fromkeys(("bigbird_pegasus", "led"), _WINDOWS),
    "prophetnet": LayerNames(("query_proj",), ("key_proj",), ("value_proj",), ("feed_forward.output",)),
}  # fmt: skip
_COMPOSED = "encoder-decoder"
# Parts of a composed model.
_PARTS: dict[str, LayerNames] = dict.fromkeys(("bert", "camembert", "electra", "roberta", "xlm-roberta"), _BERT)
# Models that read or write something other than text, or have no decoder that generates.
_NOT_TEXT = frozenset((
    "kosmos-2.5", "moonshine", "pix2struct", "pop2piano", "speech-encoder-decoder", "speech_to_text", "speecht5",
    "vision-encoder-decoder", "whisper",
))  # fmt: skip

# Relative, rotary or computed positions: a longer text is slower but does not fail.
_ANY_LENGTH = frozenset((
    "fsmt", "longt5", "m2m_100", "mt5", "nllb-moe", "pegasus_x", "switch_transformers", "t5", "t5gemma", "t5gemma2",
    "umt5",
))  # fmt: skip
# Models whose positions begin after the id of the padding token, as in fairseq.
_COUNT_FROM_PADDING = frozenset(("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta"))
# Models whose class has no default start token, so that config.json must name it.
_NO_DEFAULT_START = frozenset((_COMPOSED, "longt5", "mbart", "plbart", "switch_transformers", "t5"))
_START = "decoder_start_token_id"


def recognizes(config: Mapping[str, Any]) -> bool:
    """Return whether a model has an encoder and a decoder, both for text."""
    if kind(config) in (*_LAYERS, _COMPOSED):
        return config.get("is_encoder_decoder") is not False  # an encoder that is saved alone has False
    return config.get("is_encoder_decoder") is True and bool(kind(config)) and kind(config) not in _NOT_TEXT


def auto_class() -> str:
    """Return the name of the transformers class that loads such a model."""
    return "AutoModelForSeq2SeqLM"


def generate_arguments(model_type: str | None) -> str:
    """Return the argument for LED's global attention, without which the encoder sees no further than its window."""
    seen_by_all = "(torch.arange(len(ids), device=model.device) == 0).long()[None]"
    return f", global_attention_mask={seen_by_all}" if model_type == "led" else ""


def embeddings() -> frozenset[str]:
    """Return the names of the embedding matrices of such models."""
    return frozenset((
        "shared", "embed_tokens", "embed_positions", "relative_attention_bias", "word_embeddings",
        "position_embeddings", "token_type_embeddings",
    ))  # fmt: skip


def no_adapter(_config: Mapping[str, Any]) -> str | None:
    """Return None: adapters suit all of them."""
    return None


def layer_names(config: Mapping[str, Any], linear: tuple[str, ...]) -> LayerNames:
    """Return the names of the model's layers, for a composed model those of both parts; LoRA targets q and v."""
    names = _names(config)
    return names._replace(linear=linear, lora=names.query + names.value)


def _names(config: Mapping[str, Any]) -> LayerNames:
    if kind(config) != _COMPOSED:
        return _LAYERS.get(kind(config), LayerNames())
    parts = [config.get(part) for part in ("encoder", "decoder")]
    names = [_PARTS.get(kind(part)) if isinstance(part, Mapping) else None for part in parts]
    encoder, decoder = names
    if encoder is None or decoder is None:
        return LayerNames()
    return LayerNames(*(tuple(dict.fromkeys(both[0] + both[1])) for both in zip(encoder, decoder, strict=True)))


def continues_prompt() -> bool:
    """Return False: the encoder reads the prompt, and the decoder starts from scratch."""
    return False


def prompt_limit(config: Mapping[str, Any]) -> Limit | None:
    """Return the most tokens of a prompt; None if there is no limit or it is unknown."""
    if kind(config) == _COMPOSED:
        return _limit_of_part(config, "encoder")
    limit = _limit(config, ("max_encoder_position_embeddings", "max_position_embeddings"))
    if limit is not None and kind(config) == "led":
        # LED pads every prompt to a multiple of its widest window, and the padding needs positions too.
        given = config.get("attention_window")
        windows = [one for one in (given if isinstance(given, list) else [given]) if is_id(one) and one]
        widest = max(windows, default=1)
        return limit._replace(tokens=limit.tokens // widest * widest or limit.tokens)
    return limit


def summary_limit(config: Mapping[str, Any]) -> Limit | None:
    """Return the most tokens of a summary; None if there is no limit or it is unknown."""
    if kind(config) == _COMPOSED:
        return _limit_of_part(config, "decoder")
    return _limit(config, ("max_decoder_position_embeddings", "max_position_embeddings"))


def start(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return the key and the id of the token from which the decoder starts."""
    decoder = config.get("decoder")
    named = first_id(generation, config, key=_START)
    if named is None and kind(config) in ("t5gemma", "t5gemma2") and isinstance(decoder, Mapping):
        named = first_id(decoder, key="bos_token_id")  # as in its own training
    return _START, named


def missing_start(config: Mapping[str, Any], complete: bool, where: Path) -> str | None:
    """Return the problem and advice if no file names the token from which the decoder starts."""
    if not complete and kind(config) not in _NO_DEFAULT_START:
        return None
    which = " (for mBART: the id of the summaries' language)" if kind(config) == "mbart" else ""
    return (
        f"the model names no start token for its decoder (got no {_START} in {where} or "
        f"generation_config.json); add it{which}"
    )


def _limit_of_part(config: Mapping[str, Any], part: str) -> Limit | None:
    inner = config.get(part)
    if not isinstance(inner, Mapping):
        return None
    limit = _limit(inner, ("max_position_embeddings", "n_positions"))
    if limit is None:
        return None
    padding = inner.get("pad_token_id")
    before = padding + 1 if kind(inner) in _COUNT_FROM_PADDING and is_id(padding) else 0
    return Limit(limit.tokens - before, f"{part}.{limit.key}", limit.value)


def _limit(config: Mapping[str, Any], keys: Sequence[str]) -> Limit | None:
    if kind(config) in _ANY_LENGTH or "rope_parameters" in config or "rope_theta" in config:
        return None
    return next((Limit(config[key], key, config[key]) for key in keys if is_id(config.get(key)) and config[key]), None)
