"""Writes the accelerate config of a launch, so that the user's default config is never used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from summtune.deepspeed.configs import DS_CONFIG
from summtune.plan.launch import Launch


def accelerate_config(launch: Launch, run_dir: Path) -> dict[str, Any]:
    """Return the config that ``accelerate launch`` reads.

    On a machine without a GPU, several processes need ``MULTI_GPU`` or ``DEEPSPEED`` with ``use_cpu: false``: with
    ``use_cpu: true`` accelerate silently starts a single process.

    Args:
        launch: of the stage.
        run_dir: holds the DeepSpeed config, if any, as ``ds_config.json``.
    """
    kinds = {"none": "NO", "data_parallel": "MULTI_GPU", "deepspeed": "DEEPSPEED"}
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": kinds[launch.distribution],
        "machine_rank": 0,
        # 0 is any free port, so that two runs on one machine do not collide; on several the command line sets it.
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
        if launch.machines > 1:  # by default accelerate would use pdsh, which logs in to every machine
            config["deepspeed_config"]["deepspeed_multinode_launcher"] = "standard"
    else:
        config["mixed_precision"] = "no"  # the worker decides, on its actual device
    return config


def to_yaml(config: dict[str, Any]) -> str:
    """Return the config as the YAML that accelerate reads."""
    return yaml.safe_dump(config, sort_keys=True)
