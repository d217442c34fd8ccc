"""Compiles DeepSpeed's Adam for the CPU before a training with CPU offload begins, and says so."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from summtune.errors import StageError
from summtune.events import Events
from summtune.files import read_json
from summtune.launchers.accelerate_config import DS_CONFIG
from summtune.plan import Plan
from summtune.zero_memory import offloads

_STALE_SECONDS = 900.0


def prepare(plan: Plan, run_dir: Path, events: Events) -> None:
    """Compile what a training with CPU offload needs; nothing happens without offload.

    It takes about a minute, once on each machine, in which a training that has said nothing looks like one that hangs.

    Args:
        plan: of a training.
        run_dir: with its ``ds_config.json``.
        events: to the command that waits.

    Raises:
        StageError: it cannot be compiled here.
    """
    if plan.recipe.deepspeed is None:
        return
    if not offloads(read_json(run_dir / DS_CONFIG).get("zero_optimization", {}), "offload_optimizer"):
        return
    from deepspeed.ops.op_builder import CPUAdamBuilder
    from torch.utils.cpp_extension import _get_build_directory

    folder = Path(_get_build_directory("cpu_adam", False))
    if not (folder / "cpu_adam.so").is_file():
        events.say("compiling DeepSpeed's optimizer for the CPU, once on this machine: about a minute")
    remove_stale_lock(folder / "lock")
    try:
        CPUAdamBuilder().load(verbose=False)
    except Exception as error:  # compilers fail in many ways
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StageError(
            f"DeepSpeed's optimizer for the CPU cannot be compiled (got {first}); it needs g++, ninja and Python.h on "
            "every machine: install them, or use a config without offload"
        ) from error


def remove_stale_lock(lock: Path) -> None:
    """Remove the lock of a compilation that was killed: torch would wait for its end for ever.

    Args:
        lock: of the folder that is compiled in.
    """
    with contextlib.suppress(FileNotFoundError):
        if time.time() - lock.stat().st_mtime > _STALE_SECONDS:
            lock.unlink()
