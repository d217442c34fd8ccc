"""Finds this machine's GPUs without importing torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from summtune.base.whole_number import whole_number


@dataclass(frozen=True)
class Gpu:
    """A visible CUDA device.

    Args:
        name: as the driver reports it.
        memory_bytes: total memory.
        capability: CUDA compute capability (major, minor).
    """

    name: str
    memory_bytes: int
    capability: tuple[int, int]


def visible_gpus() -> list[Gpu]:
    """Return the CUDA devices that a process started now would see; an empty list without an NVIDIA driver.

    ``CUDA_VISIBLE_DEVICES`` applies, as it will to the processes that are started.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        gpus = [
            Gpu(
                str(pynvml.nvmlDeviceGetName(handle)),
                int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            )
            for handle in handles
        ]
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return gpus if chosen is None else _chosen(gpus, uuids, chosen)


def _chosen(gpus: list[Gpu], uuids: list[str], chosen: str) -> list[Gpu]:
    """Return the devices that CUDA_VISIBLE_DEVICES selects: CUDA stops at the first invalid entry."""
    visible = []
    for entry in filter(None, (part.strip() for part in chosen.split(","))):
        number = whole_number(entry)
        index = next((i for i, u in enumerate(uuids) if u.startswith(entry)), -1) if number is None else number
        if not 0 <= index < len(gpus):
            break
        visible.append(gpus[index])
    return visible
