"""Runs stages on several machines without a scheduler: the same command on each, connected to that on machine 0.

Machine 0 does everything that a single machine does. The others wait until it tells them which stages to start, start
their share of the processes, and report how these ended. The connection also tells each side at once that the other
has ended.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from summtune.base.errors import InputError, StageError, StageStopped, SummtuneError
from summtune.base.whole_number import whole_number
from summtune.launchers.line import WAIT_SECONDS, Line
from summtune.launchers.local import Listener, MachineRank, run_processes
from summtune.plan.launch import Launch
from summtune.plan.plan import launch_of, read_local_plan

DEFAULT_PORT = 29500

_GATHER_SECONDS = 600.0
_END_SECONDS = 120.0
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_REPORT_SECONDS = 60.0


def this_machine(count: int) -> MachineRank | None:
    """Return which of ``count`` machines this one is; None if the environment does not say.

    ``MACHINE_RANK`` is its number, from 0; machine 0 listens at ``MASTER_ADDR`` and ``MASTER_PORT``.

    Raises:
        InputError: one of the three variables is missing or invalid.
    """
    given = os.environ.get("MACHINE_RANK")
    if given is None:
        return None
    rank = whole_number(given)
    if rank is None or rank >= count:
        raise InputError(
            f"MACHINE_RANK must be a number from 0 to {count - 1} (got {given!r:.60}); num_machines is {count}"
        )
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", str(DEFAULT_PORT))
    if not address:
        raise InputError(
            f"MACHINE_RANK needs MASTER_ADDR (got MACHINE_RANK={rank} alone); set it to machine 0's address"
        )
    number = whole_number(port)
    if number is None or not 0 < number < 65_536:
        raise InputError(
            f"MASTER_PORT must be a port from 1 to 65535 (got {port!r:.60}); the default is {DEFAULT_PORT}"
        )
    return MachineRank(rank, address, number)


def commands(count: int, command: Sequence[str]) -> list[str]:
    """Return the command to type on each machine, if this one is machine 0."""
    address = os.environ.get("MASTER_ADDR") or socket.gethostname()
    port = os.environ.get("MASTER_PORT", str(DEFAULT_PORT))
    return [
        f"cd {shlex.quote(str(Path.cwd()))} && "
        f"MASTER_ADDR={shlex.quote(address)} MASTER_PORT={shlex.quote(port)} MACHINE_RANK={rank} {shlex.join(command)}"
        for rank in range(count)
    ]


class OtherMachines:
    """Machine 0's connections to the others, opened when the first stage starts.

    Args:
        machine: machine 0 itself.
        count: number of machines, this one included.
        identity: of the recipe; a machine with another one is refused.
    """

    def __init__(self, machine: MachineRank, count: int, identity: str) -> None:
        self.machine = machine
        self.count = count
        self.identity = identity
        self.lines: dict[int, Line] = {}

    def __enter__(self) -> OtherMachines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self.lines.values():
            if kind is None:
                line.send({"end": True})
            line.close()

    def run_everywhere(self, launch: Launch, run_dir: Path, stages: Sequence[str], listener: Listener) -> None:
        """Start the processes of a stage group on all machines and return when all stages are done.

        Raises:
            StageError: a machine did not connect, failed or disconnected; the error names its number.
            StageStopped: the processes were asked to stop, and have saved their state on all machines.
        """
        self._gather(listener)
        waiting = set(range(1, launch.machines))
        port = _free_port()
        for rank in waiting:
            self.lines[rank].send({"run_dir": str(run_dir), "stages": list(stages), "port": port})

        def watch_others() -> None:
            for rank in tuple(waiting):
                for message in self._messages(rank):
                    if "failed" in message and message["code"] != os.EX_TEMPFAIL:
                        raise StageError(f"on machine {rank}: {message['failed']}", message["log"])
                    waiting.discard(rank)  # done, or asked to stop, like the processes on this machine

        stopped: StageStopped | None = None
        try:
            run_processes(launch, run_dir, stages, listener, MachineRank(0, self.machine.address, port), watch_others)
        except StageStopped as error:  # the others end at the same time, and would take the end of this one for a crash
            stopped = error
        end = time.monotonic() + _END_SECONDS
        while waiting:
            watch_others()
            if time.monotonic() > end:
                raise StageError(
                    f"the {stages[0]} stage is done on machine 0 only (got nothing from {_named(waiting)}); give the "
                    "same commands again",
                    str(run_dir / "logs" / f"launcher.machine{min(waiting)}.log"),
                )
            time.sleep(_POLL_SECONDS)
        if stopped is not None:
            raise stopped

    def _messages(self, rank: int) -> list[dict[str, Any]]:
        try:
            return self.lines[rank].received()
        except ConnectionError:
            raise StageError(
                f"machine {rank} has disconnected (got the end of its connection); its output shows why. Give the same "
                "commands again: the run resumes from the last checkpoint"
            ) from None

    def _gather(self, listener: Listener) -> None:
        """Wait until every machine is connected."""
        missing = set(range(1, self.count)) - self.lines.keys()
        if not missing:
            return
        end = time.monotonic() + _GATHER_SECONDS
        try:
            server = socket.create_server(("", self.machine.port))
        except OSError as error:
            raise InputError(
                f"machine 0 cannot listen (got MASTER_PORT={self.machine.port}: {error.strerror}); choose "
                "another port, the same on all machines"
            ) from None
        with server:
            server.settimeout(_POLL_SECONDS)
            reported: set[int] = set()
            while missing:
                if reported != missing:
                    text = f"waiting for {_named(missing)} at {self.machine.address}:{self.machine.port}"
                    listener({"event": "message", "stage": "machines", "text": text})
                    reported = set(missing)
                if time.monotonic() > end:
                    raise StageError(
                        f"not every machine has connected in {_GATHER_SECONDS / 60:.0f} minutes (got nothing from "
                        f"{_named(missing)} at {self.machine.address}:{self.machine.port}); start the command there"
                    )
                self._take_one(server, missing)

    def _take_one(self, server: socket.socket, missing: set[int]) -> None:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            return
        line = Line(connection)
        hello = line.next(WAIT_SECONDS)
        rank = (hello or {}).get("machine")
        wrong = None
        if hello is None or not isinstance(rank, int):
            line.close()  # not summtune: something that scans ports
            return
        if rank not in missing:
            wrong = f"another machine has this number (got MACHINE_RANK={rank}); give each machine a different one"
        elif hello.get("identity") != self.identity:
            wrong = (
                f"machine 0 runs another experiment (got {str(hello.get('identity'))[:8]} on this machine, "
                f"{self.identity[:8]} on machine 0); use the same recipe, data and options on every machine"
            )
        if wrong is not None:
            line.send({"refused": wrong})
            line.close()
            return
        self.lines[rank] = line
        missing.discard(rank)


def join(machine: MachineRank, identity: str, listener: Listener, complete: Callable[[], bool]) -> None:
    """Run this machine's share of machine 0's run, and return when the run is complete.

    Args:
        machine: which one this is.
        identity: of the recipe as this machine reads it.
        listener: receives events.
        complete: returns whether nothing is left to do; machine 0 then opens no connections.

    Raises:
        InputError: machine 0 refuses this one, or they share no file system.
        StageError: a stage failed on this machine, or machine 0 has disconnected.
    """
    line = _connect(machine, listener, complete)
    if line is None:
        return
    try:
        line.send({"machine": machine.rank, "identity": identity})
        while True:
            message = line.next(None)
            if message is None:
                raise _gone()
            if "refused" in message:
                raise InputError(message["refused"])
            if "end" in message:
                return
            _run_share(machine, message, line, listener)
    except ConnectionError:
        raise _gone() from None
    finally:
        line.close()


def _run_share(machine: MachineRank, message: dict[str, Any], line: Line, listener: Listener) -> None:
    run_dir, stages = Path(message["run_dir"]), message["stages"]
    try:
        if not (run_dir / "plan.json").exists():
            raise InputError(
                f"the machines share no file system (got no {run_dir} on this one); use an --output-dir that all of "
                "them can access"
            )
        launch = launch_of(read_local_plan(run_dir), stages[0])
        at_port = MachineRank(machine.rank, machine.address, message["port"])
        run_processes(launch, run_dir, stages, listener, at_port, lambda: _raise_if_gone(line))
    except SummtuneError as error:
        line.send({"failed": str(error), "code": error.exit_code, "log": getattr(error, "log", None)})
        raise
    line.send({"done": True})


def _raise_if_gone(line: Line) -> None:
    try:
        line.look()
    except ConnectionError:
        raise _gone() from None


def _gone() -> StageError:
    return StageError(
        "machine 0 ended before the run was complete (got the end of its connection); its output shows why"
    )


def _connect(machine: MachineRank, listener: Listener, complete: Callable[[], bool]) -> Line | None:
    """Connect to machine 0, however long that takes: it may have to fetch the model first."""
    reported = -_REPORT_SECONDS
    while not complete():
        try:
            return Line(socket.create_connection((machine.address, machine.port), timeout=WAIT_SECONDS))
        except OSError as error:
            if time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                text = f"waiting for machine 0 at {machine.address}:{machine.port} ({error.strerror or error})"
                listener({"event": "message", "stage": "machines", "text": text})
            time.sleep(_RETRY_SECONDS)
    return None


def _named(ranks: set[int]) -> str:
    return f"machine{'s' if len(ranks) > 1 else ''} {', '.join(map(str, sorted(ranks)))}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
