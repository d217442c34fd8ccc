"""DeepSpeed's operators that are compiled at first use: announced, and not waited for when nobody compiles them."""

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

OPERATORS = ("cpu_adam", "deepspeed_shm_comm")  # the second one for all processes that meet on a CPU
_MUON = "deepspeed.runtime.zero.muon.muon_optimizer"
_NO_COMPILER = "TORCHDYNAMO_DISABLE"
_STALE_SECONDS = 120.0  # another machine with the same home may be compiling


def leave_muon_uncompiled() -> None:
    """Import DeepSpeed's Muon optimizer without torch's compiler.

    ZeRO imports it at its start, to see whether it is the one in use, which in a recipe it cannot be. Its functions are
    wrapped in ``torch.compile``, which imports all of inductor: more than a second on every rank.
    """
    before = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"  # torch's own switch, which it looks at whenever something is wrapped
    try:
        with uncollected(), contextlib.suppress(ImportError):  # another version keeps it elsewhere
            importlib.import_module(_MUON)
    finally:
        os.environ.pop(_NO_COMPILER)
        if before is not None:
            os.environ[_NO_COMPILER] = before


def free_locks(say: Callable[[str], None]) -> None:
    """Wait for compilations to end, and remove the locks of those that were killed: torch would wait for ever.

    Args:
        say: told what is waited for.
    """
    from torch.utils.cpp_extension import _get_build_directory

    for name in OPERATORS:
        free_lock(Path(_get_build_directory(name, False)) / "lock", say)


def free_lock(lock: Path, say: Callable[[str], None], stale_seconds: float = _STALE_SECONDS) -> None:
    """Wait until a lock is gone, and remove one that no process of this machine holds, when it is old enough not to be
    another machine's.

    A process that holds it now may still be killed: so it is waited for here, and not by torch.

    Args:
        lock: of the folder that is compiled in.
        say: told what is waited for.
        stale_seconds: how old.
    """
    said = None
    while lock.exists():
        held = _is_held(lock)
        with contextlib.suppress(FileNotFoundError):
            if not held and time.time() - lock.stat().st_mtime > stale_seconds:
                lock.unlink()
            elif held is not said:
                said = held
                why = "another process compiles" if held else "held by another machine, or left by a killed run"
                say(f"waiting for {lock} ({why})")
        time.sleep(0.5)


def _is_held(lock: Path) -> bool:
    """Whether a process of this machine has the file open, as torch does while it compiles."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(Path(file.path) == lock for file in process.open_files()):
                return True
    return False


def prepare(plan: TrainPlan, events: Events) -> None:
    """Import what DeepSpeed needs, and compile what a training with CPU offload needs.

    That takes about a minute, once on each machine; a training that says nothing meanwhile looks like one that hangs.

    Args:
        plan: of a training.
        events: to the command that waits.

    Raises:
        StageError: it cannot be compiled here.
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
