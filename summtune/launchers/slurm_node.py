"""Starts one node's share of the processes of a Slurm job: the job runs it once on each node.

``summtune.launchers.slurm_node RUN_DIR STAGE...``, by `summtune.base.start`
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summtune.base.printing import say_lines
from summtune.launchers.local import MachineRank, command, environment
from summtune.launchers.sbatch_script import STOPPED, STOPPED_FILE
from summtune.plan.plan import launch_of, read_local_plan

_OTHERS_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
    """Start this node's processes and wait; return 0, 75 if they stopped and saved, 143 upon SIGTERM, else 1.

    SIGUSR1 means that the job is about to be requeued; SIGTERM that Slurm or a user ends it.
    """
    run_dir, stages = Path(arguments[0]), arguments[1:]
    launch = launch_of(read_local_plan(run_dir), stages[0])
    rank = int(os.environ.get("SLURM_NODEID", "0"))
    machine = None
    if launch.machines > 1:
        machine = MachineRank(rank, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    received: set[int] = set()
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: Any) -> None:
        received.add(number)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, forward)
    path = run_dir / "logs" / f"launcher.machine{rank}.log"
    with path.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            command(launch, run_dir, stages, machine), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment(launch),
        )  # fmt: skip
        for early in list(received):  # before the process existed
            process.send_signal(early)
        code = process.wait()
    if code == 0:
        return 0
    if received == {signal.SIGTERM}:
        return 128 + signal.SIGTERM
    if code == STOPPED:
        # The step ends when the first node ends, with any code; the others have saved their part and are about to end.
        (run_dir / STOPPED_FILE).touch()
        time.sleep(_OTHERS_SECONDS)
        return STOPPED
    say_lines(path.read_bytes()[start:].decode(errors="replace")[-4000:].splitlines())
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
