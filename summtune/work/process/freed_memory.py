"""Returns freed memory to the kernel where the C library keeps it."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def return_freed_memory() -> None:
    """Return pages without live data from the heap to the kernel; do nothing without glibc.

    On a CPU `summtune.launchers.local` lets glibc keep freed memory. Batches of many lengths then leave holes in the
    heap that fit nothing: full fine-tuning of SmolLM2-135M came to hold twice what it needs.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
