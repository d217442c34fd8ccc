"""Imports libraries with the garbage collector off, which would repeatedly traverse all that they create."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disable garbage collection during imports, and exclude what they created from later collections.

    Modules, classes and functions live as long as the process. Importing torch and transformers with the collector on
    takes about a quarter longer, and every full collection of a training would traverse them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
