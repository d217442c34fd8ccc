"""Build, save and measure the miniature model: FLAN-T5's architecture in small."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from summtune.base.files import write_bytes, write_json

SHAPE = {
    # Equal numbers of layers: transformers' cache is as long as the encoder.
    "d_model": 128, "d_kv": 32, "d_ff": 384, "num_layers": 3, "num_decoder_layers": 3, "num_heads": 4,
    # Finer and farther than T5's: an exemplar's dialogue has to be told from that at the end of the prompt.
    "relative_attention_num_buckets": 64, "relative_attention_max_distance": 512,
}  # fmt: skip

EMBEDDING_STD = 0.3


def build_model(vocab_size: int) -> T5ForConditionalGeneration:
    """Return a fresh model with an untied lm_head, as in FLAN-T5."""
    config = T5Config(**_settings(vocab_size))
    model = T5ForConditionalGeneration(config)
    # transformers ties the two tensors regardless of the config (which only affects the scale of the decoder's output).
    # Embeddings as large as T5's (1.0) would hardly change in a short run. An lm_head that starts as a copy of the
    # embedding can output at once what attention has found; from random weights, copying is learnt word by word.
    torch.nn.init.normal_(model.shared.weight, std=EMBEDDING_STD)
    model.lm_head.weight = torch.nn.Parameter(model.shared.weight.detach() * config.d_model**-0.5 / EMBEDDING_STD)
    _begin_with_copying(model)
    return model


@torch.no_grad()
def _begin_with_copying(model: T5ForConditionalGeneration) -> None:
    """Initialize the decoder's attention to find similar pieces, and one head of the encoder to attend one piece back.

    Together they find the piece that follows the last one written, which is copying (Olsson et al., In-context Learning
    and Induction Heads, 2022). This takes 200 steps to learn, but thousands from T5's random weights.
    """
    for block in model.decoder.block:
        attention = block.layer[1].EncDecAttention
        attention.q.weight.copy_(attention.k.weight * model.config.d_kv**-0.5)
        attention.o.weight.copy_(attention.v.weight.T)
    one_back = 1  # the bucket of that distance
    model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight[one_back, 0] += 4.0


def save_model(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path, dtype: torch.dtype
) -> None:
    """Write the checkpoint in FLAN-T5's layout, weights in ``dtype``."""
    weights = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.endswith("embed_tokens.weight")
    }
    write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    write_json(folder / "config.json", _settings(model.config.vocab_size))
    tokens = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    write_json(folder / "generation_config.json", tokens)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("backend", None)
    # The name that all versions of transformers know.
    write_json(folder / "tokenizer_config.json", settings | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _settings(vocab_size: int) -> dict[str, object]:
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "vocab_size": vocab_size,
        **SHAPE,
        "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-6,
        "initializer_factor": 1.0,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": True,
        "use_cache": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "tie_word_embeddings": False,
        "n_positions": 512,
        "dtype": "float32",
    }
