"""Counts the operations that a training needs, and measures how many of them a device reaches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from speed_inputs import Setting


@dataclass(frozen=True)
class Needed:
    """What one pair takes in a training step.

    Args:
        mean: operations, without padding and recomputation.
        tokens: means and maxima of prompts and summaries.
    """

    mean: float
    tokens: dict[str, float]


def operations(folder: Path, rows: list[dict[str, Any]]) -> Needed:
    """Return the operations of a training step for one pair: six per weight and token, plus attention."""
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inner = config.num_heads * config.d_kv
    attention, layer = 4 * config.d_model * inner, 3 * config.d_model * config.d_ff
    totals, sources, targets = [], [], []
    for row in rows:
        prompt = f"Summarize the following conversation.\n\n{row['dialogue']}\n\nSummary:"
        source = len(tokenizer(prompt, max_length=512, truncation=True)["input_ids"])
        target = len(tokenizer(row["summary"], max_length=128, truncation=True)["input_ids"])
        encoder = config.num_layers * source * (attention + layer)
        # Of the attention to the dialogue, queries and outputs belong to target tokens, keys and values to the source.
        decoder = config.num_decoder_layers * (target * (1.5 * attention + layer) + source * attention / 2)
        products = encoder + decoder + target * config.d_model * config.vocab_size
        scores = config.num_layers * source**2 + config.num_decoder_layers * (target**2 / 2 + target * source)
        totals.append(6 * products + 12 * inner * scores)
        sources.append(source)
        targets.append(target)
    means = {"prompt_mean": statistics.fmean(sources), "summary_mean": statistics.fmean(targets)}
    most = {"prompt_max": max(sources), "summary_max": max(targets)}
    return Needed(statistics.fmean(totals), {name: round(value, 1) for name, value in (means | most).items()})


def decoder_operations(folder: Path, tokens: float, of_summary: float) -> float:
    """Return the operations of a LoRA step for one pair of a decoder-only model.

    Four per frozen weight and token, because these weights need no gradient, and attention to what comes before. The
    output layer reads the tokens of the summary alone.

    Args:
        folder: of the model.
        tokens: mean of prompt and summary.
        of_summary: mean of the summaries.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    hidden, heads = config.hidden_size, config.num_attention_heads
    shared = config.num_key_value_heads / heads
    layer = hidden**2 * (2 + 2 * shared) + 3 * hidden * config.intermediate_size
    products = config.num_hidden_layers * layer * tokens + hidden * config.vocab_size * of_summary
    scores = config.num_hidden_layers * hidden * tokens**2 / 2
    return float(4 * products + 12 * scores)


def product_rate(setting: Setting, repeats: int = 50) -> float:
    """Return operations per second of a large matrix product, in bf16 on a GPU."""
    device, size, dtype = ("cuda", 8192, torch.bfloat16) if setting.cuda else ("cpu", 512, torch.float32)
    left, right = torch.randn(2, size, size, dtype=dtype, device=device)
    return 2 * size**3 * repeats / _seconds(lambda: left @ right, repeats, setting)


def copy_rate(setting: Setting, repeats: int = 20) -> float:
    """Return bytes per second of a copy in the device's memory, read and written."""
    size = 2**30 if setting.cuda else 2**24
    source = torch.zeros(size, dtype=torch.uint8, device="cuda" if setting.cuda else "cpu")
    target = torch.empty_like(source)
    return 2 * size * repeats / _seconds(lambda: target.copy_(source), repeats, setting)


def _seconds(call: Callable[[], Any], repeats: int, setting: Setting) -> float:
    for _ in range(5):
        call()
    if setting.cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    if setting.cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began
