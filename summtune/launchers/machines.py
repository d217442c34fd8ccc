"""Several machines without a scheduler: the same command on each, and a connection from the first to every other one.

Machine 0 does all that one machine does. The others wait for it to say which stages start, start their share of the
processes, and say how those ended. The connection is also how each side learns at once that the other one has gone.
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

from summtune.base.errors import InputError, StageError, SummtuneError
from summtune.base.whole_number import whole_number
from summtune.launchers.line import WAIT_SECONDS, Line
from summtune.launchers.local import Listener, Place, run_stages
from summtune.plan.launch import Launch
from summtune.plan.plan import launch_of, read_run_plan

DEFAULT_PORT = 29500

_GATHER_SECONDS = 600.0
_END_SECONDS = 120.0
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_SAY_SECONDS = 60.0


def place_here(count: int) -> Place | None:
    """Return which of ``count`` machines this one is; None when the environment does not say.

    ``MACHINE_RANK`` is its number, from 0; ``MASTER_ADDR`` and ``MASTER_PORT`` are where machine 0 listens.

    Raises:
        InputError: one of the three is missing or wrong.
    """
    given = os.environ.get("MACHINE_RANK")
    if given is None:
        return None
    rank = whole_number(given)
    if rank is None or rank >= count:
        raise InputError(f"MACHINE_RANK is a number from 0 to {count - 1} (got {given!r:.60}); num_machines is {count}")
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", str(DEFAULT_PORT))
    if not address:
        raise InputError(
            f"MACHINE_RANK needs MASTER_ADDR (got MACHINE_RANK={rank} alone); set it to machine 0's address"
        )
    number = whole_number(port)
    if number is None or not 0 < number < 65_536:
        raise InputError(f"MASTER_PORT is a port from 1 to 65535 (got {port!r:.60}); the default is {DEFAULT_PORT}")
    return Place(rank, address, number)


def commands(count: int, command: Sequence[str]) -> list[str]:
    """Return what to type on each machine, taking this one for the first."""
    address = os.environ.get("MASTER_ADDR") or socket.gethostname()
    port = os.environ.get("MASTER_PORT", str(DEFAULT_PORT))
    return [
        f"cd {shlex.quote(str(Path.cwd()))} && "
        f"MASTER_ADDR={shlex.quote(address)} MASTER_PORT={shlex.quote(port)} MACHINE_RANK={rank} {shlex.join(command)}"
        for rank in range(count)
    ]


class OtherMachines:
    """Machine 0's connections to the others, opened when the first stage starts there.

    Args:
        place: of this machine.
        count: machines, this one included.
        identity: of the recipe; a machine that was given another one is refused.
    """

    def __init__(self, place: Place, count: int, identity: str) -> None:
        self.place = place
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

    def run_stages(self, launch: Launch, run_dir: Path, stages: Sequence[str], listener: Listener) -> None:
        """Run stages on this machine and the others, and return when all are done.

        Raises:
            StageError: a machine did not come, failed, or has gone; its number is named.
        """
        self._gather(listener)
        waiting = set(range(1, launch.machines))
        port = _free_port()
        for rank in waiting:
            self.lines[rank].send({"run_dir": str(run_dir), "stages": list(stages), "port": port})

        def check() -> None:
            for rank in tuple(waiting):
                for message in self._heard(rank):
                    if "failed" in message and message["code"] != os.EX_TEMPFAIL:
                        raise StageError(f"on machine {rank}: {message['failed']}", message["log"])
                    waiting.discard(rank)  # done, or asked to stop, as the processes here are too

        run_stages(launch, run_dir, stages, listener, Place(0, self.place.address, port), check)
        end = time.monotonic() + _END_SECONDS
        while waiting:
            check()
            if time.monotonic() > end:
                raise StageError(
                    f"the {stages[0]} stage is done here and not everywhere (got nothing from "
                    f"{_named(waiting)}); give the same commands again",
                    str(run_dir / "logs" / f"launcher.machine{min(waiting)}.log"),
                )
            time.sleep(_POLL_SECONDS)

    def _heard(self, rank: int) -> list[dict[str, Any]]:
        try:
            return self.lines[rank].received()
        except ConnectionError:
            raise StageError(
                f"machine {rank} has gone (got the end of its connection); its own output says why. Give the same "
                "commands again: the run goes on from the last checkpoint"
            ) from None

    def _gather(self, listener: Listener) -> None:
        """Wait until every machine is connected."""
        missing = set(range(1, self.count)) - self.lines.keys()
        if not missing:
            return
        end = time.monotonic() + _GATHER_SECONDS
        try:
            server = socket.create_server(("", self.place.port))
        except OSError as error:
            raise InputError(
                f"machine 0 cannot listen (got MASTER_PORT={self.place.port}: {error.strerror}); choose another port, "
                "the same on all machines"
            ) from None
        with server:
            server.settimeout(_POLL_SECONDS)
            said: set[int] = set()
            while missing:
                if said != missing:
                    text = f"waiting for {_named(missing)} at {self.place.address}:{self.place.port}"
                    listener({"event": "message", "stage": "machines", "text": text})
                    said = set(missing)
                if time.monotonic() > end:
                    raise StageError(
                        f"not every machine has come in {_GATHER_SECONDS / 60:.0f} minutes (got nothing from "
                        f"{_named(missing)} at {self.place.address}:{self.place.port}); start the command there"
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
            line.close()  # not one of ours: something that looks which ports are open
            return
        if rank not in missing:
            wrong = f"another machine has this number (got MACHINE_RANK={rank}); give each machine its own"
        elif hello.get("identity") != self.identity:
            wrong = (
                f"machine 0 runs another experiment (got {str(hello.get('identity'))[:8]} here, {self.identity[:8]} "
                "there); give the same recipe, data and options on every machine"
            )
        if wrong is not None:
            line.send({"refused": wrong})
            line.close()
            return
        self.lines[rank] = line
        missing.discard(rank)


def join(place: Place, identity: str, listener: Listener, complete: Callable[[], bool]) -> None:
    """Take part in the run of machine 0, and return when that is complete.

    Args:
        place: of this machine.
        identity: of the recipe as this machine reads it.
        listener: told what goes on.
        complete: whether nothing is left to do: machine 0 then calls nobody.

    Raises:
        InputError: machine 0 refuses this one, or they share no file system.
        StageError: a stage failed here, or machine 0 has gone.
    """
    line = _connect(place, listener, complete)
    if line is None:
        return
    try:
        line.send({"machine": place.rank, "identity": identity})
        while True:
            message = line.next(None)
            if message is None:
                raise _gone()
            if "refused" in message:
                raise InputError(message["refused"])
            if "end" in message:
                return
            _run_here(place, message, line, listener)
    except ConnectionError:
        raise _gone() from None
    finally:
        line.close()


def _run_here(place: Place, message: dict[str, Any], line: Line, listener: Listener) -> None:
    run_dir, stages = Path(message["run_dir"]), message["stages"]
    try:
        if not (run_dir / "plan.json").exists():
            raise InputError(
                f"the machines share no file system (got no {run_dir} here); use an --output-dir that all of them see"
            )
        launch = launch_of(read_run_plan(run_dir), stages[0])
        there = Place(place.rank, place.address, message["port"])
        run_stages(launch, run_dir, stages, listener, there, lambda: _check(line))
    except SummtuneError as error:
        line.send({"failed": str(error), "code": error.exit_code, "log": getattr(error, "log", None)})
        raise
    line.send({"done": True})


def _check(line: Line) -> None:
    try:
        line.look()
    except ConnectionError:
        raise _gone() from None


def _gone() -> StageError:
    return StageError(
        "machine 0 has ended before the run was complete (got the end of its connection); its output says why"
    )


def _connect(place: Place, listener: Listener, complete: Callable[[], bool]) -> Line | None:
    """Connect to machine 0, however long it prepares: the model may have to be fetched first."""
    said = -_SAY_SECONDS
    while not complete():
        try:
            return Line(socket.create_connection((place.address, place.port), timeout=WAIT_SECONDS))
        except OSError as error:
            if time.monotonic() - said >= _SAY_SECONDS:
                said = time.monotonic()
                text = f"waiting for machine 0 at {place.address}:{place.port} ({error.strerror or error})"
                listener({"event": "message", "stage": "machines", "text": text})
            time.sleep(_RETRY_SECONDS)
    return None


def _named(ranks: set[int]) -> str:
    return f"machine{'s' if len(ranks) > 1 else ''} {', '.join(map(str, sorted(ranks)))}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
