"""Says how much memory a process has held at most."""

from __future__ import annotations

import torch


def peak_memory_bytes() -> int:
    """Return the most memory this process has held: of its GPU where it has one, else resident memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
