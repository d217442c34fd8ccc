"""Writes the accelerate config of a launch, so that the user's own default config never takes part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from summtune.deepspeed.configs import DS_CONFIG
from summtune.plan.launch import Launch


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


def to_yaml(config: dict[str, Any]) -> str:
    """Return the config as accelerate reads it."""
    return yaml.safe_dump(config, sort_keys=True)
