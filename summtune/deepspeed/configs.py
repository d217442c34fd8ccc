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
    """Return the config with a reduction bucket for this model, where it names none.

    DeepSpeed sets aside its default of 500 million numbers, twice with overlap_comm, however small the model is: 2 GB
    in bf16 where the gradients of a LoRA adapter have 7 MB. A tenth of the trained weights still overlaps, and 25
    million numbers are plenty for one message.

    Args:
        config: as `read_ds_config` returns it.
        trainable: weights that are trained, None where that is not known.
    """
    zero = config.get("zero_optimization", {})
    if trainable is None or not zero.get("stage") or "reduce_bucket_size" in zero:
        return config
    return config | {"zero_optimization": zero | {"reduce_bucket_size": bucket_size(trainable)}}


def bucket_size(trainable: int) -> int:
    """Return the numbers that are reduced together, for so many trained weights."""
    return min(500_000_000, max(trainable // 10, min(trainable, 25_000_000)))


def read_ds_config(path: Path) -> dict[str, Any]:
    """Return a DeepSpeed config that does not contradict the recipe, `filled_in`.

    Raises:
        InputError: it cannot be read, or something is wrong with it (`wrong_with_config`).
    """
    config = parse_ds_config(path)
    for problem in wrong_with_config(config, path):
        raise InputError(problem)
    return filled_in(config)


def filled_in(config: dict[str, Any]) -> dict[str, Any]:
    """Return a DeepSpeed config with "auto" where it says nothing.

    DeepSpeed's own defaults would contradict the recipe, and save no model.
    """
    auto: dict[str, Any] = dict.fromkeys(_AUTO, "auto") | {"bf16": {"enabled": "auto"}}
    zero = config.get("zero_optimization", {})
    return auto | config | ({"zero_optimization": zero | {GATHER: True}} if zero.get("stage") == 3 else {})


def parse_ds_config(path: Path) -> dict[str, Any]:
    """Return what a DeepSpeed config holds.

    Raises:
        InputError: it is no regular file, is above 4 MiB, is no JSON object, or has no stage of ZeRO that there is.
    """
    try:
        config = json.loads(read_bounded(path, CONFIG_BYTES).decode("utf-8"), object_pairs_hook=_without_doubles)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the DeepSpeed config cannot be read (got {path}: {error}); it is a JSON object") from None
    if not isinstance(config, dict):
        raise InputError(f"the DeepSpeed config is no JSON object (got {path}); see ds_configs/ for examples")
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict) or zero.get("stage", 0) not in (0, 1, 2, 3):
        shown = zero.get("stage") if isinstance(zero, dict) else zero
        raise InputError(
            f"zero_optimization is no object with a stage from 0 to 3 (got {shown!r} in {path}); see ds_configs/ for "
            "examples"
        )
    return config


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    double = next((key for key in keys if keys.count(key) > 1), None)
    if double is not None:
        raise ValueError(f"the key {double!r} stands there twice")
    return dict(pairs)
