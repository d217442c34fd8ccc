"""Writes the accelerate config of a launch, so that the user's own default config never takes part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from summtune.base.errors import InputError
from summtune.base.files import CONFIG_BYTES, read_bounded
from summtune.deepspeed.rules import GATHER, wrong_with_config
from summtune.plan.plan import Launch

DS_CONFIG = "ds_config.json"

_AUTO = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")


def accelerate_config(launch: Launch, run_dir: Path) -> dict[str, Any]:
    """Return the config that ``accelerate launch`` reads.

    On a machine without a GPU, several processes need ``MULTI_GPU`` or ``DEEPSPEED`` with ``use_cpu: false``: with
    ``use_cpu: true`` accelerate starts a single process and says nothing.

    Args:
        launch: of the stage.
        run_dir: where a DeepSpeed config lies as ``ds_config.json``.
    """
    kinds = {"none": "NO", "data_parallel": "MULTI_GPU", "deepspeed": "DEEPSPEED"}
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": kinds[launch.distribution],
        "machine_rank": 0,
        # A free one, so that two runs on one machine do not meet; several machines are told theirs by the command.
        "main_process_port": 0 if launch.machines == 1 else None,
        "main_training_function": "main",
        "num_machines": launch.machines,
        "num_processes": launch.processes,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": launch.distribution == "none" and launch.device == "cpu",
    }
    if launch.distribution == "deepspeed":
        config["deepspeed_config"] = {
            "deepspeed_config_file": str(run_dir / DS_CONFIG),
            "zero3_init_flag": launch.zero_stage == 3,
        }
        if launch.machines > 1:  # by default accelerate would hand everything to pdsh, and that logs in everywhere
            config["deepspeed_config"]["deepspeed_multinode_launcher"] = "standard"
    else:
        config["mixed_precision"] = "no"  # the worker decides, on the device that it really has
    return config


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


def to_yaml(config: dict[str, Any]) -> str:
    """Return the config as accelerate reads it."""
    return yaml.safe_dump(config, sort_keys=True)


def read_ds_config(path: Path) -> dict[str, Any]:
    """Return a DeepSpeed config that does not contradict the recipe, with "auto" where it says nothing.

    Raises:
        InputError: it cannot be read, or something is wrong with it (`wrong_with_config`).
    """
    config = parse_ds_config(path)
    for problem in wrong_with_config(config, path):
        raise InputError(problem)
    # DeepSpeed's own defaults would contradict the recipe, and save no model.
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
