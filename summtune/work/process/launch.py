"""Runs ``accelerate launch``, forwards signals to the workers, and returns their exit code for a later resume.

torchrun gives its workers thirty seconds upon SIGTERM, which is too short for a large checkpoint, dies of SIGUSR1, and
exits with code 1 regardless of its workers' codes.

For a single worker, accelerate computes its environment, starts it, and waits with torch in memory. Here the launcher
becomes that worker instead: torch, which accelerate imports to parse its arguments, is imported once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import psutil

from summtune.base.safe_python import START
from summtune.runs.events import Events
from summtune.work.process.importing import uncollected
from summtune.work.process.stopping import RESUME_LATER, SIGNALS


def main(arguments: Sequence[str]) -> int:
    """Run ``accelerate launch``; return 0, or `RESUME_LATER` if one of several workers exited with it.

    This process itself becomes a single worker, and exits with that worker's code.

    Args:
        arguments: of ``accelerate launch``.

    Raises:
        Exception: accelerate's error for a failed worker.
    """
    for number in SIGNALS:
        signal.signal(number, _forward)
    # The signals that torchrun handles; an older one, without this variable, also handles SIGTERM.
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGINT,SIGHUP,SIGQUIT"
    with uncollected():
        from accelerate.commands.config import load_config_from_file
        from accelerate.commands.launch import launch_command_parser
        from accelerate.utils import DistributedType

    given = launch_command_parser().parse_args(arguments)
    kind = load_config_from_file(given.config_file).distributed_type
    if kind == DistributedType.NO:
        _become_worker(given)
    return _run_workers(given, arguments, deepspeed=kind == DistributedType.DEEPSPEED)


def _become_worker(given: argparse.Namespace) -> NoReturn:
    """Become the worker that accelerate would start, with the same command and environment."""
    from accelerate.commands.launch import _validate_launch_command
    from accelerate.utils import prepare_simple_launcher_cmd_env

    _validate_launch_command(given)
    command, environment = prepare_simple_launcher_cmd_env(given)
    changed = {key for key, value in environment.items() if os.environ.get(key) != value}
    # accelerate's variables are read later. Modules that are already imported may have read others, such as the number
    # of threads: `summtune run` sets these beforehand; otherwise Python is started again.
    if command[:2] != [sys.executable, START] or not all(key.startswith("ACCELERATE_") for key in changed):
        os.execve(command[0], command, environment)
    os.environ.update(environment)
    sys.argv = command[2:]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    sys.exit(0)


def _run_workers(given: argparse.Namespace, arguments: Sequence[str], deepspeed: bool) -> int:
    """Let accelerate start this machine's workers with torchrun, and wait for them."""
    with uncollected():
        import accelerate.utils.launch
        from accelerate.commands.launch import launch_command
        from torch.distributed import DistError
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

        for needed in ("torch.distributed.run", *(("deepspeed.launcher.runner",) if deepspeed else ())):
            importlib.import_module(needed)  # accelerate imports it next
    # For DeepSpeed accelerate adds the current folder, which holds the user's files, to the PYTHONPATH of the ranks.
    accelerate.utils.launch.env_var_path_add = lambda name, _: os.environ.get(name, "")
    try:
        launch_command(given)
    except ChildFailedError as error:
        if RESUME_LATER in [failure.exitcode for failure in error.failures.values()]:
            return RESUME_LATER
        raise
    except DistError as error:
        _report_missed_meeting(arguments, error)
        raise
    return 0


def _report_missed_meeting(arguments: Sequence[str], error: Exception) -> None:
    """Report to the waiting command that this machine did not reach the others before any worker started."""
    given = dict(pairwise(arguments))
    if "--machine_rank" not in given:
        return
    run_dir, stage = Path(arguments[arguments.index("summtune.worker") + 1]), given[given["summtune.worker"]]
    cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
    Events(run_dir, stage, int(given["--machine_rank"])).error(
        f"machine {given['--machine_rank']} ({socket.gethostname()}) did not reach the others in time (got {cause} at "
        f"{given['--main_process_ip']}:{given['--main_process_port']}); check that every machine runs the command and "
        "can connect to that address",
        expected=True,
    )


def _forward(number: int, _: Any) -> None:
    workers = psutil.Process().children()
    if not workers:  # not started yet: there is nothing to lose
        os._exit(RESUME_LATER)
    for worker in workers:
        try:
            worker.send_signal(number)
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
