"""Starts the processes of a stage group on this machine with accelerate and waits for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from summtune.base.errors import StageError, StageStopped, StopAsked
from summtune.base.safe_python import START, python_command, safe_environment
from summtune.plan.launch import Launch
from summtune.runs.events import EventReader

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 15.0
_MEET_SECONDS = 60
_FULL_DISK_BYTES = 16_000_000


class Listener(Protocol):
    """Receives the events of a stage, usually to show them."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Receive one event of `summtune.runs.events`."""


@dataclass(frozen=True)
class MachineRank:
    """Which of a launch's machines this one is, and where machine 0 is.

    Args:
        rank: of this machine, from 0.
        address: of machine 0.
        port: of machine 0, to which the processes connect.
    """

    rank: int
    address: str
    port: int


def command(launch: Launch, run_dir: Path, stages: Sequence[str], machine: MachineRank | None = None) -> list[str]:
    """Return the exact command of a launch, on the given machine when there are several.

    It is ``accelerate launch`` (`summtune.work.process.launch`, which forwards signals), started with this Python
    interpreter, so that another environment's accelerate is never used.
    """
    where: tuple[str, ...] = ()
    if machine is not None:
        where = ("--machine_rank", str(machine.rank), "--main_process_ip", machine.address)
        where += ("--main_process_port", str(machine.port))
        # By default torch waits 15 minutes for a machine that cannot be reached.
        where += ("--rdzv_conf", f"timeout={_MEET_SECONDS}")
    return [
        *python_command("summtune.work.process.launch"),
        *("--config_file", str(run_dir / launch.config_file)),
        *where,
        *(START, "summtune.worker", str(run_dir), *stages),
    ]


def environment(launch: Launch) -> dict[str, str]:
    """Return the environment of the processes: this process's, without variables that other launches set."""
    foreign = ("ACCELERATE_", "FSDP_", "MASTER_", "TORCHELASTIC_", "GROUP_", "ROLE_", "MACHINE_RANK", "PMI_", "PMIX_")
    ranks = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
    values = {
        key: value for key, value in safe_environment().items() if not key.startswith(foreign) and key not in ranks
    }
    values |= {
        # For the ninja installed with DeepSpeed, even if this Python environment is not activated.
        "PATH": os.pathsep.join(filter(None, (values.get("PATH"), str(Path(sys.executable).parent)))),
        "SUMMTUNE_PARENT_PID": str(os.getpid()),
        "HF_HUB_OFFLINE": "1",  # everything is already fetched; many ranks must not query the hub at once
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "true" if launch.processes == 1 else "false",
    }
    if launch.distribution == "none":
        # As accelerate sets them for a single process, but earlier: accelerate itself imports torch first.
        cores = psutil.cpu_count(logical=False) or 1
        values.setdefault("OMP_NUM_THREADS", str(cores if launch.device == "cpu" else 1))
        if launch.device == "cpu":
            values |= {"KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"}
    if launch.device == "cpu":
        values["DS_ACCELERATOR"] = "cpu"
        # glibc would return the memory of large tensors, which the kernel then clears again: up to a fifth of a step.
        # Before 2.35 it rejects so high a threshold, but accepts MMAP_MAX=0. Every few steps the training loop returns
        # what is free.
        for key, value in {"MMAP_THRESHOLD": 2**32, "MMAP_MAX": 0, "TRIM_THRESHOLD": 2**40}.items():
            values.setdefault(f"MALLOC_{key}_", str(value))
    else:
        # Only the planned devices: a single process that sees more would train on all of them with DataParallel, with
        # another global batch than planned.
        visible = values.get("CUDA_VISIBLE_DEVICES")
        here = launch.processes_per_machine * launch.devices_per_process
        devices = [str(index) for index in range(here)] if visible is None else visible.split(",")
        values["CUDA_VISIBLE_DEVICES"] = ",".join(devices[:here])
    return values


def run_processes(
    launch: Launch,
    run_dir: Path,
    stages: Sequence[str],
    listener: Listener,
    machine: MachineRank | None = None,
    watch: Callable[[], None] | None = None,
) -> None:
    """Start this machine's processes of a stage group, forward their events, and return when all stages are done.

    Args:
        launch: of the stages.
        run_dir: holds the plan and the accelerate config.
        stages: of the group, in their order.
        listener: receives the events of the processes.
        machine: which one this is, if the launch has several.
        watch: called repeatedly; an exception that it raises ends the processes.

    Raises:
        StageError: a process failed or died; the error names its log.
        StageStopped: the processes were asked to stop, but not by this command, and have saved their state.
        StopAsked, KeyboardInterrupt: this command was asked to stop or interrupted; the processes have ended.
    """
    logs = run_dir / "logs"
    logs.mkdir(exist_ok=True)
    reader = EventReader(run_dir)
    errors: list[dict[str, Any]] = []
    launcher_log = logs / ("launcher.log" if machine is None else f"launcher.machine{machine.rank}.log")
    with launcher_log.open("ab") as log:
        start = log.tell()
        process: subprocess.Popen[bytes] | None = None
        try:
            with interrupts_held_back():
                process = subprocess.Popen(
                    command(launch, run_dir, stages, machine),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment(launch),
                    start_new_session=True,  # an interrupt reaches only this command, which then ends the others
                )
            running = True
            while running:
                running = process.poll() is None
                for event in reader.new():
                    errors.append(event) if event["event"] == "error" else listener(event)
                if watch is not None:
                    watch()
                if running:
                    time.sleep(_POLL_SECONDS)
        except StopAsked:
            if process is not None:
                _let_stop(process, reader, listener)
            raise
        finally:
            if process is not None:
                _end(process)
    if process.returncode == os.EX_TEMPFAIL:
        raise StageStopped(
            f"the {stages[0]} stage was asked to stop (got SIGTERM or SIGUSR1); the same command resumes it"
        )
    if process.returncode != 0:
        output = launcher_log.read_bytes()[start:].decode(errors="replace")
        raise _failure(process.returncode, errors, launcher_log, stages, output)


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Delay signals to the end of the block: one in the middle of a start would leave the new process behind."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1) if in_main_thread else ()
    received: list[int] = []
    handlers = {number: signal.signal(number, lambda got, _: received.append(got)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for held_back in received:
        signal.raise_signal(held_back)


def _let_stop(process: subprocess.Popen[bytes], reader: EventReader, listener: Listener) -> None:
    """Ask the processes to save their state and wait until they have: a large checkpoint takes minutes."""
    process.send_signal(signal.SIGUSR1)
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        for event in reader.new():
            listener(event)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process group: first with an interrupt, upon which workers save nothing, then with SIGKILL."""
    for sent, patience in ((signal.SIGINT, _GRACE_SECONDS), (signal.SIGKILL, _GRACE_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        if not _group_exists(process.pid):
            return
        time.sleep(0.5)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _failure(
    code: int, errors: list[dict[str, Any]], launcher_log: Path, stages: Sequence[str], output: str
) -> StageError:
    """Return the error to show: the original cause, not the errors of ranks that lost their connection to it."""
    logs = launcher_log.parent
    free = shutil.disk_usage(logs).free
    chosen = next((event for event in errors if event["expected"]), errors[0] if errors else None)
    if chosen is not None:
        stage, cause = chosen["stage"], chosen["text"]
        log = logs / f"{stages[0]}.rank{chosen['rank']}.log"
        log = log if log.exists() else launcher_log  # no process of the stage had started
    else:
        stage, cause = stages[0], f"its processes ended with exit code {code}"
        log = logs / f"{stages[0]}.rank0.log"
        # With several machines it may have been any of them; the launcher's log names the rank.
        log = log if log.exists() and launcher_log.name == "launcher.log" else launcher_log
        # accelerate and torchrun exit with code 1 regardless of how a process ended, but log the signal.
        if code == -signal.SIGKILL or "SIGKILL" in output:
            cause = "it was killed (signal 9), usually because memory ran out; lower micro_batch_size"
    if free < _FULL_DISK_BYTES:
        # The libraries that write checkpoints report a full disk in many ways, and sometimes not at all.
        cause = (
            f"no space is left on the disk (got {free / 1e6:.0f} MB free for {logs.parent}); free some space and give "
            "the same command again: it resumes"
        )
    return StageError(f"the {stage} stage failed: {cause}", str(log), chosen.get("exit_code", 1) if chosen else 1)
