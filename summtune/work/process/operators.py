"""Prepares DeepSpeed's operators that are compiled at first use, and removes locks of compilations that were killed."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from summtune.base.errors import StageError
from summtune.deepspeed.zero_memory import offloads
from summtune.plan.plan import TrainPlan
from summtune.runs.events import Events
from summtune.work.process.importing import uncollected

OPERATORS = ("cpu_adam", "deepspeed_shm_comm")  # the second one for several processes on a CPU
_MUON = "deepspeed.runtime.zero.muon.muon_optimizer"
_NO_COMPILER = "TORCHDYNAMO_DISABLE"
_STALE_SECONDS = 120.0  # another machine with the same home may be compiling


def leave_muon_uncompiled() -> None:
    """Import DeepSpeed's Muon optimizer without torch's compiler.

    ZeRO imports it at its start to check whether it is in use, which no recipe can ask for. Its functions are wrapped
    in ``torch.compile``, which imports all of inductor: more than a second on every rank.
    """
    before = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"  # torch's own switch, which it reads at each wrapping
    try:
        with uncollected(), contextlib.suppress(ImportError):  # other versions have it elsewhere
            importlib.import_module(_MUON)
    finally:
        os.environ.pop(_NO_COMPILER)
        if before is not None:
            os.environ[_NO_COMPILER] = before


def free_locks(say: Callable[[str], None]) -> None:
    """Wait for compilations to end, and remove the locks of killed ones, for which torch would wait forever.

    Args:
        say: receives what is waited for.
    """
    from torch.utils.cpp_extension import _get_build_directory

    for name in OPERATORS:
        free_lock(Path(_get_build_directory(name, False)) / "lock", say)


def free_lock(lock: Path, say: Callable[[str], None], stale_seconds: float = _STALE_SECONDS) -> None:
    """Wait until a lock is gone; remove it if no process of this machine holds it and it is too old for another's.

    The process that holds it may still be killed, so the waiting is done here rather than in torch.

    Args:
        lock: of the build folder.
        say: receives what is waited for.
        stale_seconds: age from which on a lock that is not held is removed.
    """
    reported = None
    while lock.exists():
        held = _is_held(lock)
        with contextlib.suppress(FileNotFoundError):
            if not held and time.time() - lock.stat().st_mtime > stale_seconds:
                lock.unlink()
            elif held is not reported:
                reported = held
                why = "another process is compiling" if held else "held by another machine, or left by a killed run"
                say(f"waiting for {lock} ({why})")
        time.sleep(0.5)


def _is_held(lock: Path) -> bool:
    """Return whether a process of this machine has the file open, as torch does while it compiles."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(Path(file.path) == lock for file in process.open_files()):
                return True
    return False


def prepare(plan: TrainPlan, events: Events) -> None:
    """Import what DeepSpeed needs, and compile what a training with CPU offload needs.

    Compiling takes about a minute, once on each machine; it is announced, because a silent training seems to hang.

    Args:
        plan: of a training.
        events: to the waiting command.

    Raises:
        StageError: the compilation failed on this machine.
    """
    if plan.deepspeed is None:
        return
    leave_muon_uncompiled()
    if not offloads(plan.deepspeed.get("zero_optimization", {}), "offload_optimizer"):
        return
    from deepspeed.ops.op_builder import CPUAdamBuilder
    from torch.utils.cpp_extension import _get_build_directory

    folder = Path(_get_build_directory("cpu_adam", False))
    if not (folder / "cpu_adam.so").is_file():
        events.say("compiling DeepSpeed's optimizer for the CPU, once on this machine: about a minute")
    try:
        CPUAdamBuilder().load(verbose=False)
    except Exception as error:  # compilers fail in many ways
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StageError(
            f"DeepSpeed's optimizer for the CPU cannot be compiled (got {first}); it needs g++, ninja and Python.h on "
            "every machine: install them, or use a config without offload"
        ) from error
