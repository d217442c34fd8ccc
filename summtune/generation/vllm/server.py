"""Starts vLLM's server for a run, waits until it answers, and ends it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import StageError
from summtune.base.numbers import duration
from summtune.base.safe_python import python_command
from summtune.generation.vllm.command import HOST, Served, serve_environment

START_SECONDS = 1800.0
"""How long the server may take until it answers: large models are read from slow disks, and compiled."""
END_SECONDS = 20.0
"""How long it may take to end by itself."""
_POLL_SECONDS = 0.3
_REPORT_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_SHOWN = 3
"""Lines of the log in a message."""
_LONGEST = 300
_CAUSE = re.compile(r"\b[\w.]*(?:Error|Exception): .+|\berror: .+")


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        port: that it listens on.
        key: that requests must have.
        log: its output.
        log_start: where its output begins in the log, in bytes.
        keeper: the process that ends it (`summtune.generation.vllm.keeper`).
    """

    port: int
    key: str
    log: Path
    log_start: int
    keeper: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The address below which it has /completions."""
        return f"http://{HOST}:{self.port}/v1"

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Return whether it has ended, though nobody asked it to; wait so long for that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.keeper.wait(seconds)
        return self.keeper.returncode is not None

    def failure(self, when: str) -> StageError:
        """Return the error for a server that has ended, with the cause that its log names."""
        with self.log.open("rb") as file:
            file.seek(self.log_start)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        # vLLM's processes log one cause several times, each with its own beginning; the first one is the root.
        found = (_CAUSE.search(line) for line in lines if "WARNING" not in line)
        causes = list(dict.fromkeys(match[0] for match in found if match))[:_SHOWN] or lines[-_SHOWN:]
        said = "; ".join(cause[:_LONGEST] for cause in causes) or "no output"
        return StageError(
            f"vLLM's server ended {when} (got exit code {self.keeper.returncode}: {said}); correct what its log names: "
            f"{self.log}",
            str(self.log),
        )

    def version(self) -> str | None:
        """Return the version of vLLM; None if the server does not tell."""
        found = self.get("/version")
        return str(found["version"]) if isinstance(found, dict) and "version" in found else None

    def get(self, path: str) -> Any:
        """Return the JSON at a path, "" for an empty answer; None where there is no answer, or not a good one."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_ANSWER_SECONDS)  # never through a proxy
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.key}"})
            answer = connection.getresponse()
            content = answer.read()
            return None if answer.status != http.client.OK else json.loads(content) if content else ""
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()


@contextlib.contextmanager
def serving(
    command: Callable[[str], list[str]],
    served: Served,
    log: Path,
    say: Callable[[str], None],
    start_seconds: float = START_SECONDS,
    end_seconds: float = END_SECONDS,
) -> Iterator[Server]:
    """Yield a server that answers, and end it with the block.

    It also ends when this process ends, in any way.

    Args:
        command: returns the command for a port.
        served: what it serves.
        log: receives the server's output.
        say: called while the server starts, with how long that has taken.
        start_seconds: how long it may take until it answers.
        end_seconds: how long it may take to end by itself.

    Raises:
        StageError: the server does not start.
    """
    key = secrets.token_urlsafe(32)
    port = _free_port()
    with log.open("ab") as output:
        start = output.tell()
        keeper = subprocess.Popen(
            [*python_command("summtune.generation.vllm.keeper", str(end_seconds)), *command(str(port))],
            stdin=subprocess.PIPE,  # closed by the end of this process
            stdout=output,
            stderr=output,
            env=serve_environment(os.environ, key),
        )
    server = Server(port, key, log, start, keeper)
    try:
        _wait_until_healthy(server, served, say, start_seconds)
        yield server
    finally:
        assert keeper.stdin is not None, "it is a pipe"
        keeper.stdin.close()
        keeper.wait()


def _wait_until_healthy(server: Server, served: Served, say: Callable[[str], None], start_seconds: float) -> None:
    began = time.monotonic()
    reported = began
    while server.get("/health") is None:
        if server.has_ended(_POLL_SECONDS):
            raise server.failure("before it answered")
        now = time.monotonic()
        if now - began > start_seconds:
            raise StageError(
                f"vLLM's server does not answer (got nothing within {duration(start_seconds)}); see its log: "
                f"{server.log}",
                str(server.log),
            )
        if now - reported > _REPORT_SECONDS:
            reported = now
            say(f"vLLM is starting: {duration(now - began)} so far")
    if server.has_ended():
        raise server.failure("before it answered")
    listed = server.get("/v1/models")
    try:
        roots = {model["id"]: model.get("root") for model in listed["data"]}
    except (TypeError, KeyError, AttributeError):
        roots = {}
    if roots.get(served.name) != served.root:
        raise StageError(
            f"another server than the run's answers (got models {roots or 'none'} at port {server.port}, not "
            f"{served.root}); give the command again, which takes another port"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
