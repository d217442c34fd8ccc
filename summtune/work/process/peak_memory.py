"""Measures the peak memory of a process."""

from __future__ import annotations

import torch


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held: of its GPU if it has one, else resident memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
