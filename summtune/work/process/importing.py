"""Imports without the garbage collector, which would walk through all that the libraries make, again and again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """While libraries are imported, do not look for garbage; what they made is never looked through afterwards.

    Modules, classes and functions live as long as the process. Importing torch and transformers with the collector on
    takes about a quarter longer, and every full collection of a training would walk through them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
