import os
import signal
import subprocess
import sys

import pytest

from summtune.work.process.stopping import RESUME_LATER, StopRequest

PROGRAM = (
    "import os, signal, sys, time\nfrom summtune.work.process.stopping import StopRequest\n"
    "stop = StopRequest()\nstop.listen()\n{}\nprint('ready', flush=True)\n"
    "while not stop.asked:\n    time.sleep(0.01)\nprint('saved', flush=True)\nsys.exit(3)\n"
)


def ended(number, before=""):
    """Return the exit code of a process that got a signal, and what it said after that."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM.format(before)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        return process.wait(20), process.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_process_without_unsaved_work_at_once(number):
    assert ended(number) == (RESUME_LATER, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_held_work_is_saved_before_the_process_ends(number):
    assert ended(number, "stop.hold()") == (3, "saved\n")


def test_a_signal_after_the_release_ends_the_process_at_once():
    assert ended(signal.SIGTERM, "stop.hold(); stop.release()") == (RESUME_LATER, "")


def test_an_interrupt_ends_the_process_at_once_even_with_held_work():
    assert ended(signal.SIGINT, "stop.hold()") == (-signal.SIGINT, "")


def test_the_exit_code_is_that_of_sysexits():
    assert RESUME_LATER == os.EX_TEMPFAIL == 75
    assert StopRequest().asked is False
