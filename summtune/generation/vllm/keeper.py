"""Keeps a server no longer than the process that needs it: ``summtune.generation.vllm.keeper SECONDS COMMAND...``.

It starts the command, and ends it with all its descendants once standard input closes. The process at the other end of
that pipe may then have ended in any way, even by a kill. Descendants whose parent has died become children of the
keeper, so none of them can be left behind with the memory of a GPU. The server may take so many seconds to end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import psutil

_KILL_SECONDS = 10.0
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main(arguments: Sequence[str]) -> int:
    """Run the command until it ends or standard input closes; return its exit code as a shell does, 0 if it was ended.

    Args:
        arguments: the seconds, and the command.
    """
    patience, command = float(arguments[0]), arguments[1:]
    # An interrupt of the terminal or the launcher reaches the whole group; the worker decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)

    def in_the_server() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # should the keeper itself be killed

    pipe = os.dup(0)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=in_the_server)
    asked = threading.Event()
    threading.Thread(target=_wait_for_end, args=(pipe, server, patience, asked), daemon=True).start()
    code = server.wait()
    _end_all(psutil.Process().children(recursive=True))
    return 0 if asked.is_set() else code if code >= 0 else 128 - code


def _wait_for_end(pipe: int, server: subprocess.Popen[bytes], patience: float, asked: threading.Event) -> None:
    """Wait until the pipe closes; then end the server, whose end `main` waits for."""
    while os.read(pipe, 1):
        pass
    asked.set()
    server.terminate()
    try:
        server.wait(patience)
    except subprocess.TimeoutExpired:
        server.kill()


def _end_all(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=_KILL_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
