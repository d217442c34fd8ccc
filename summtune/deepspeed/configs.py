"""Reads DeepSpeed configs, and fills in what a recipe decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError
from summtune.base.files import CONFIG_BYTES, read_bounded
from summtune.deepspeed.rules import GATHER, wrong_with_config

DS_CONFIG = "ds_config.json"

_AUTO = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")


def sized(config: dict[str, Any], trainable: int | None) -> dict[str, Any]:
    """Return the config with a reduction bucket sized for this model, unless it sets one.

    DeepSpeed's default of 500 million elements, doubled by overlap_comm, is allocated regardless of the model's size:
    2 GB in bf16 where the gradients of a LoRA adapter take 7 MB. A tenth of the trained weights still overlaps
    communication with the backward pass, and 25 million elements are enough for one message.

    Args:
        config: as `read_ds_config` returns it.
        trainable: number of trained weights; None if unknown.
    """
    zero = config.get("zero_optimization", {})
    if trainable is None or not zero.get("stage") or "reduce_bucket_size" in zero:
        return config
    return config | {"zero_optimization": zero | {"reduce_bucket_size": bucket_size(trainable)}}


def bucket_size(trainable: int) -> int:
    """Return how many gradient elements are reduced together, given the number of trained weights."""
    return min(500_000_000, max(trainable // 10, min(trainable, 25_000_000)))


def read_ds_config(path: Path) -> dict[str, Any]:
    """Return the content of a DeepSpeed config, `filled_in`.

    Raises:
        InputError: it cannot be read or is invalid (`wrong_with_config`).
    """
    config = parse_ds_config(path)
    for problem in wrong_with_config(config, path):
        raise InputError(problem)
    return filled_in(config)


def filled_in(config: dict[str, Any]) -> dict[str, Any]:
    """Return a DeepSpeed config that leaves to the recipe what the recipe sets: missing keys are set to "auto".

    DeepSpeed's own defaults would contradict the recipe, and save no model.
    """
    auto: dict[str, Any] = dict.fromkeys(_AUTO, "auto") | {"bf16": {"enabled": "auto"}}
    zero = config.get("zero_optimization", {})
    return auto | config | ({"zero_optimization": zero | {GATHER: True}} if zero.get("stage") == 3 else {})


def parse_ds_config(path: Path) -> dict[str, Any]:
    """Return the content of a DeepSpeed config.

    Raises:
        InputError: it is not a regular file, is larger than 4 MiB, is not a JSON object, or its ZeRO stage is invalid.
    """
    try:
        config = json.loads(read_bounded(path, CONFIG_BYTES).decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the DeepSpeed config cannot be read (got {path}: {error}); write a JSON object") from None
    if not isinstance(config, dict):
        raise InputError(f"the DeepSpeed config is not a JSON object (got {path}); see ds_configs/ for examples")
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict) or zero.get("stage", 0) not in (0, 1, 2, 3):
        shown = zero.get("stage") if isinstance(zero, dict) else zero
        raise InputError(
            f"zero_optimization is not an object with a stage from 0 to 3 (got {shown!r} in {path}); see ds_configs/ "
            "for examples"
        )
    return config


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    duplicate = next((key for key in keys if keys.count(key) > 1), None)
    if duplicate is not None:
        raise ValueError(f"duplicate key {duplicate!r}")
    return dict(pairs)
