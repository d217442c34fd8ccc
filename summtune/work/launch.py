"""``accelerate launch`` that passes signals on to its workers, and their wish to be called again on to its caller.

torchrun gives its workers thirty seconds upon SIGTERM, which is too short for a large checkpoint, dies of SIGUSR1, and
ends with code 1 whatever its workers ended with. A single process is left behind by accelerate in both cases.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from summtune.events import Events
from summtune.work.stopping import GO_ON_LATER, SIGNALS


def main(arguments: Sequence[str]) -> int:
    """Run ``accelerate launch``; return 0, or `GO_ON_LATER` when a worker ended so.

    Args:
        arguments: of ``accelerate launch``.

    Raises:
        Exception: what accelerate says of a worker that failed.
    """
    for number in SIGNALS:
        signal.signal(number, _pass_on)
    # What torchrun itself acts upon; an older one that does not know the variable passes SIGTERM on too.
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGINT,SIGHUP,SIGQUIT"
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except ChildFailedError as error:
        if GO_ON_LATER in [failure.exitcode for failure in error.failures.values()]:
            return GO_ON_LATER
        raise
    except DistError as error:
        _say_who_is_missing(arguments, error)
        raise
    except subprocess.CalledProcessError as error:
        if error.returncode == GO_ON_LATER:
            return GO_ON_LATER
        raise
    return 0


def _say_who_is_missing(arguments: Sequence[str], error: Exception) -> None:
    """Tell the command that waits that this machine did not meet the others, before any worker was started."""
    given = dict(pairwise(arguments))
    if "--machine_rank" not in given:
        return
    run_dir, stage = Path(arguments[arguments.index("summtune.worker") + 1]), given[given["summtune.worker"]]
    cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
    Events(run_dir, stage, int(given["--machine_rank"])).error(
        f"machine {given['--machine_rank']} ({socket.gethostname()}) did not meet the others in time (got {cause} at "
        f"{given['--main_process_ip']}:{given['--main_process_port']}); check that every machine runs, and can open "
        "connections to that one",
        expected=True,
    )


def _pass_on(number: int, _: Any) -> None:
    workers = psutil.Process().children()
    if not workers:  # not started yet: nothing is lost
        os._exit(GO_ON_LATER)
    for worker in workers:
        try:
            worker.send_signal(number)
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
