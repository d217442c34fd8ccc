"""Makes the imports of a worker fast: without the garbage collector, and without packages that it does not use."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterable, Iterator


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


def leave_out(packages: Iterable[str]) -> None:
    """Let libraries believe that packages are not installed, unless they are imported already.

    peft imports bitsandbytes wherever it is installed, and with it all of torch's compiler. DeepSpeed imports mlflow.
    Each takes more than a second at the start of every training.
    """
    for name in packages:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's way to make an import fail
