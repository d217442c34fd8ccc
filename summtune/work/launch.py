"""``accelerate launch`` that passes signals on to its workers, and their wish to be called again on to its caller.

torchrun gives its workers thirty seconds upon SIGTERM, which is too short for a large checkpoint, dies of SIGUSR1, and
ends with code 1 whatever its workers ended with. A single process is left behind by accelerate in both cases.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import psutil

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
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except ChildFailedError as error:
        if GO_ON_LATER in [failure.exitcode for failure in error.failures.values()]:
            return GO_ON_LATER
        raise
    except subprocess.CalledProcessError as error:
        if error.returncode == GO_ON_LATER:
            return GO_ON_LATER
        raise
    return 0


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
