"""What a Slurm job starts once on each node: accelerate, and the signals that make its processes write a checkpoint.

``python -m summtune.launchers.slurm_node RUN_DIR STAGE...``
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from summtune.launchers.local import Place, command, environment
from summtune.launchers.sbatch_script import STOPPED
from summtune.plan import read_plan

_POLL_SECONDS = 0.2
_REMIND_SECONDS = 10.0
_OTHERS_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run the stages on this node; return 0, 75 when they stopped with a checkpoint, 143 after SIGTERM, else 1."""
    # accelerate would die of it and take its processes along. What it starts inherits that, until it listens itself.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    run_dir, stages = Path(arguments[0]), arguments[1:]
    launch = next(stage.launch for stage in read_plan(run_dir).stages if stage.name == stages[0])
    assert launch is not None
    rank = int(os.environ.get("SLURM_NODEID", "0"))
    place = Place(rank, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])) if launch.machines > 1 else None
    path = run_dir / "logs" / f"launcher.machine{rank}.log"
    with path.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            command(launch, run_dir, stages, place),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(launch),
        )
        told = _wait(process, run_dir)
    said = path.read_bytes()[start:].decode(errors="replace")
    if signal.SIGTERM in told and signal.SIGUSR1 not in told:
        return 128 + signal.SIGTERM
    if re.search(rf"(exit status|exitcode\s*:)\s*{STOPPED}\b", said):
        # The step ends with the first node that ends; the others have written their part and are about to.
        time.sleep(_OTHERS_SECONDS)
        return STOPPED
    if process.returncode != 0:
        print(said[-4000:], file=sys.stderr, flush=True)
        return 1
    return 0


def _wait(process: subprocess.Popen[bytes], run_dir: Path) -> set[int]:
    """Wait for the processes, pass on the signals that end them in order, and return which came."""
    told: set[int] = set()
    last = 0

    def hear(number: int, _: Any) -> None:
        nonlocal last
        told.add(number)
        last = number

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, hear)
    reminded = 0.0
    workers = _workers(run_dir)
    # accelerate may end before what it started: it dies of SIGTERM, while a checkpoint is written.
    while process.poll() is None or workers:
        if last and time.monotonic() - reminded >= _REMIND_SECONDS:
            reminded = time.monotonic()
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.send_signal(last)
        time.sleep(_POLL_SECONDS)
        if last or process.poll() is not None:
            workers = _workers(run_dir)
    return told


def _workers(run_dir: Path) -> list[psutil.Process]:
    """Return the worker processes that belong to this one."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(run_dir) not in words or "summtune.worker" not in words or "accelerate.commands.launch" in words:
            continue
        with contextlib.suppress(psutil.Error):
            mine = process.environ().get("SUMMTUNE_PARENT_PID") == str(os.getpid())
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
