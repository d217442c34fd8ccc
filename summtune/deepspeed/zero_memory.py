"""Estimates the memory that each ZeRO stage needs on a device and on the host, as DeepSpeed's own estimators do.

The command line must not import DeepSpeed, so the formulas are repeated here;
tests/deepspeed/test_deepspeed_estimators.py compares each with the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SPARE = 1.5  # DeepSpeed's additional_buffer_factor for host memory


def offloads(zero: Mapping[str, Any], what: str) -> bool:
    """Return whether a ``zero_optimization`` section moves the optimizer state or the weights off the device.

    Args:
        zero: the section.
        what: ``offload_optimizer`` or ``offload_param``.
    """
    section = zero.get(what)
    return isinstance(section, Mapping) and section.get("device", "none") != "none"


def zero2_needs(parameters: int, gpus_per_node: int, nodes: int, offload: bool) -> tuple[int, int]:
    """Return the bytes of host memory per node and of GPU memory per GPU under ZeRO-2.

    The formula is ``estimate_zero2_model_states_mem_needs`` of deepspeed/runtime/zero/stage_1_and_2.py (DeepSpeed
    0.19): 2 bytes per weight, plus 18 divided by the number of GPUs: 2 + 4 for gradients, 4 for the fp32 copy, 8 for
    Adam's moments.

    Args:
        parameters: of the model, all of them trained.
        gpus_per_node: processes per node.
        nodes: number of machines.
        offload: whether the optimizer's state is kept in host memory.
    """
    gpus = gpus_per_node * nodes
    if offload:
        return int(parameters * max(4 * gpus, 16) * _SPARE), 2 * parameters
    return int(parameters * 4 * gpus_per_node * _SPARE), 2 * parameters + int(18 * parameters / gpus)


def zero3_needs(
    parameters: int, largest_layer: int, gpus_per_node: int, nodes: int, offload: bool, offload_weights: bool
) -> tuple[int, int]:
    """Return the bytes of host memory per node and of GPU memory per GPU under ZeRO-3.

    The formula is ``estimate_zero3_model_states_mem_needs`` of deepspeed/runtime/zero/stage3.py (DeepSpeed 0.19), for a
    model that is sharded as it is loaded (``zero_init``).

    Args:
        parameters: of the model, all of them trained.
        largest_layer: parameters of its largest layer, which are gathered at once.
        gpus_per_node: processes per node.
        nodes: number of machines.
        offload: whether the optimizer's state is kept in host memory.
        offload_weights: whether the weights are kept there as well.
    """
    gathered = 4 * largest_layer
    if offload and offload_weights:
        return int(parameters * 18 / nodes * _SPARE), gathered
    if offload:
        return int(parameters * 16 / nodes * _SPARE), gathered + int(2 * parameters / (gpus_per_node * nodes))
    return int(largest_layer * 4 * gpus_per_node * _SPARE), gathered + int(18 * parameters / (gpus_per_node * nodes))


@dataclass(frozen=True)
class Sharding:
    """What a DeepSpeed config divides among the processes, and what it moves to host memory.

    Args:
        stage: of ZeRO, 0 to 3; None without DeepSpeed.
        offload_optimizer: whether the optimizer's state is kept in host memory.
        offload_weights: whether the weights are kept in host memory.
        bucket: elements of a reduction bucket.
        buckets: how many buckets a device holds.
        live: the most elements that ZeRO-3 keeps gathered on a device.
    """

    stage: int | None = None
    offload_optimizer: bool = False
    offload_weights: bool = False
    bucket: int = 0
    buckets: int = 1
    live: int = 1_000_000_000

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Sharding:
        """Return the sharding of a complete DeepSpeed config (`deepspeed.configs.sized`)."""
        zero = config.get("zero_optimization", {})
        stage = zero.get("stage", 0)
        bucket = zero.get("reduce_bucket_size", 500_000_000)
        live = zero.get("stage3_max_live_parameters", 1_000_000_000)
        return cls(
            stage=stage,
            offload_optimizer=offloads(zero, "offload_optimizer"),
            offload_weights=offloads(zero, "offload_param"),
            bucket=int(bucket) if stage and bucket != "auto" else 0,
            # ZeRO-3 flattens a bucket into another one to scatter it (deepspeed/runtime/comm/coalesced_collectives.py).
            buckets=2 if stage == 3 or zero.get("overlap_comm") else 1,
            live=int(live) if live != "auto" else 1_000_000_000,
        )
