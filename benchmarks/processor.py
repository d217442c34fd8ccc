"""Describes the processor that a benchmark runs on, and measures how fast it multiplies matrices."""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path
from typing import Any

import psutil


def product_rates(size: tuple[int, int, int] = (2000, 512, 1024), repeats: int = 30) -> dict[str, float]:
    """Return the billions of operations per second of a matrix product on the CPU: the limit of all benchmarks."""
    import torch

    rows, inner, columns = size
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            torch.nn.functional.linear(left, right)
            seconds.append(time.perf_counter() - began)
        rates[name] = round(2 * rows * inner * columns / statistics.median(seconds) / 1e9, 1)
    return rates


def hardware() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "processor": name,
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "bf16": sorted(flag for flag in flags if flag in ("avx512_bf16", "amx_bf16")),
        "python": platform.python_version(),
    }
