"""Makes models of FLAN-T5's and Llama's shape and dialogues of DialogSum's lengths on machines that have neither."""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

# d_model, d_ff, layers (each side), heads: of google/flan-t5-*; "tiny" is not among them.
SIZES = {
    "tiny": (64, 128, 2, 4),
    "small": (512, 1024, 8, 6),
    "base": (768, 2048, 12, 12),
    "large": (1024, 2816, 24, 16),
    "xl": (2048, 5120, 24, 32),
}
# hidden_size, intermediate_size, layers, heads, key-value heads; "base" is Llama-3.2-1B's shape.
DECODERS = {
    "tiny": (64, 128, 2, 4, 2),
    "base": (2048, 8192, 16, 32, 8),
}
VOCABULARY = 32128
# Prompts of DialogSum's validation split have 5 % quantile 93, median 212, 99 % quantile 678 (T5's tokenizer).
_MEDIAN, _SPREAD = 212, 0.5
_OF_ONE_SUMMARY = 250  # tokens of a dialogue that one summary of the builtin dialogues stands for


def write_shaped(folder: Path, size: str) -> None:
    """Write random weights with FLAN-T5's shape, and the bundled tokenizer, which uses 1,699 of the 32,128 pieces."""
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForConditionalGeneration

    from summtune.base.places import package_path

    d_model, d_ff, layers, heads = SIZES[size]
    special = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "vocab_size": VOCABULARY,
        "d_model": d_model,
        "d_kv": 16 if size == "tiny" else 64,
        "d_ff": d_ff,
        "num_layers": layers,
        "num_decoder_layers": layers,
        "num_heads": heads,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,
        **special,
    }
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**config))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items() if "embed_tokens" not in name}
    weights["lm_head.weight"] = torch.randn(VOCABULARY, d_model) * d_model**-0.5  # FLAN-T5 does not tie it
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "generation_config.json").write_text(json.dumps(special))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(package_path("assets/flan-t5-nano") / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config, indent=2))  # last: a folder with a config is complete


def write_decoder(folder: Path, size: str) -> Path:
    """Write random weights with Llama's shape, unless there are some, and the bundled tokenizer; return the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from summtune.base.places import package_path

    if (folder / "tokenizer.json").exists():
        return folder
    hidden, inner, layers, heads, shared = DECODERS[size]
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer_config.json", "tokenizer.json"):
        shutil.copy(package_path("assets/flan-t5-nano") / name, folder / name)
    return folder


_TARGET_LEN = 128  # of the recipes that train on them
_OF_NUMBER = 5
"""Tokens that the number of a row has at most."""


def made_dialogues(count: int) -> list[dict[str, Any]]:
    """Return builtin dialogues, joined and cut until they have the length distribution of DialogSum's."""
    from tokenizers import Tokenizer

    from summtune.base.places import package_path
    from summtune.data.builtin import stream

    tokenizer = Tokenizer.from_file(str(package_path("assets/flan-t5-nano") / "tokenizer.json"))
    rng, scenes = random.Random(0), stream()
    pairs = []
    for _ in range(count):
        wanted = _MEDIAN * math.exp(rng.gauss(0, _SPREAD))
        turns: list[str] = []
        summaries: list[str] = []
        tokens = 0
        while tokens < wanted:
            scene = next(scenes)
            if tokens >= _OF_ONE_SUMMARY * len(summaries):
                joined = " ".join([*summaries, scene.references[0]])
                if len(tokenizer.encode(joined).ids) <= _TARGET_LEN:
                    summaries.append(scene.references[0])
            for turn in scene.dialogue.splitlines():
                turns.append(turn)
                tokens += len(tokenizer.encode(turn, add_special_tokens=False).ids)
                if tokens >= wanted:
                    break
        pairs.append({"dialogue": "\n".join(turns), "summary": " ".join(summaries)})
    return pairs


def long_rows(count: int, target_len: int) -> list[dict[str, Any]]:
    """Return different pairs: dialogues that are longer than any limit of tokens, and summaries that fill theirs."""
    from tokenizers import Tokenizer

    from summtune.base.places import package_path
    from summtune.data.builtin import stream

    tokenizer = Tokenizer.from_file(str(package_path("assets/flan-t5-nano") / "tokenizer.json"))
    text = " ".join(scene.dialogue.replace("\n", " ") for scene in itertools.islice(stream(seed=1), 40))
    _, end = tokenizer.encode(text, add_special_tokens=False).offsets[target_len - _OF_NUMBER - 2]
    return [{"dialogue": f"{number} {text}", "summary": f"{number} {text[:end]}"} for number in range(count)]
