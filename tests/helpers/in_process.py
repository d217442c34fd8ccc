"""Calls the command line in this process, and checks what it promises for any input."""

import contextlib
import io
import os
import re
import signal
import sys
from dataclasses import dataclass

from summtune.commands.main import main

_COMMANDS_FOR_A_TERMINAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


def call(*arguments):
    """Run ``summtune`` with these arguments; return its exit code and output, which must be its only effects."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    given, sys.argv = sys.argv, ["summtune", *map(os.fspath, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = given
        for number, handler in handlers.items():
            signal.signal(number, handler)
    stdout, stderr = (stream.buffer.getvalue().decode("utf-8") for stream in streams)
    return Done(code, stdout, stderr)


def keeps_its_promise(done):
    """Assert that a command is done, or refuses with a message, and that nothing it prints drives a terminal."""
    assert done.code in (0, 2), done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    assert done.code == 0 or done.stderr.strip()
    for said in (done.stdout, done.stderr):
        found = _COMMANDS_FOR_A_TERMINAL.search(said)
        assert found is None, (found, said[-2000:])
    return done
