import os
import signal
import subprocess
import sys

import pytest

from summtune.launchers import local
from summtune.plan.launch import Launch

LAUNCH = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")


class Interrupted(BaseException):
    """What the command line raises on Ctrl-C."""


def interrupt(*_):
    raise Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupt_in_the_middle_of_a_start_leaves_no_process_behind(monkeypatch, tmp_path, number):
    started = []

    class InterruptedPopen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(local.subprocess, "Popen", InterruptedPopen)
    monkeypatch.setattr(local, "command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    before = signal.signal(number, interrupt)
    try:
        with pytest.raises(Interrupted):
            local.run_processes(LAUNCH, tmp_path, ["train"], lambda event: None)
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    (process,) = started
    assert process.returncode in (-signal.SIGINT, 1)  # while Python starts, SIGINT makes it exit with 1
