"""Finds the accelerators of this machine without importing torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from summtune.base.whole_number import whole_number


@dataclass(frozen=True)
class Gpu:
    """A visible CUDA device.

    Args:
        name: as the driver calls it.
        memory_bytes: all of its memory.
        capability: CUDA compute capability (major, minor).
    """

    name: str
    memory_bytes: int
    capability: tuple[int, int]


def visible_gpus() -> list[Gpu]:
    """Return the CUDA devices that a process started now would see; none where there is no NVIDIA driver.

    ``CUDA_VISIBLE_DEVICES`` is respected, as the processes that are started will respect it.
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
    """Return the devices of a CUDA_VISIBLE_DEVICES value: CUDA stops at the first entry that names none."""
    visible = []
    for entry in filter(None, (part.strip() for part in chosen.split(","))):
        number = whole_number(entry)
        index = next((i for i, u in enumerate(uuids) if u.startswith(entry)), -1) if number is None else number
        if not 0 <= index < len(gpus):
            break
        visible.append(gpus[index])
    return visible
