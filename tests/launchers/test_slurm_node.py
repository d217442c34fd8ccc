"""A node of a Slurm job starts its share of the processes and forwards signals to them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from summtune.base.files import write_json
from summtune.launchers import slurm_node

NODE = "import sys; from pathlib import Path; from summtune.launchers import slurm_node\n"
WAITS = (
    "import signal, sys, time\n"
    "signal.signal(signal.{name}, lambda *_: sys.exit({code}))\n"
    "print('ready', flush=True); time.sleep(60)"
)


@pytest.fixture
def run_dir(tmp_path, slurm_plan):
    (tmp_path / "logs").mkdir()
    write_json(tmp_path / "plan.json", slurm_plan(deepspeed=True).to_json())
    return tmp_path


@pytest.fixture
def on_node(run_dir, monkeypatch):
    """Run a program in the place of accelerate on node 1, and return the exit code."""
    monkeypatch.setattr(slurm_node, "_OTHERS_SECONDS", 0.0)
    for key, value in {"SLURM_NODEID": "1", "MASTER_ADDR": "first", "MASTER_PORT": "20012"}.items():
        monkeypatch.setenv(key, value)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}

    def run(program):
        def command(launch, run_dir, stages, machine):
            run.asked = (launch.distribution, list(stages), machine)
            return [sys.executable, "-c", program]

        monkeypatch.setattr(slurm_node, "command", command)
        return slurm_node.main([str(run_dir), "train"])

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_node_starts_its_share_with_its_rank_and_the_first_nodes_address(on_node):
    assert on_node("import os; assert 'MASTER_ADDR' not in os.environ") == 0
    assert on_node.asked == ("deepspeed", ["train"], slurm_node.MachineRank(1, "first", 20012))


def test_the_output_of_a_failing_node_reaches_the_log_of_the_job(on_node, run_dir, capfd):
    (run_dir / "logs" / "launcher.machine1.log").write_text("of an earlier job\n")
    assert on_node("import sys; sys.exit('no such device')") == 1
    assert capfd.readouterr().err == "no such device\n"
    assert (run_dir / "logs" / "launcher.machine1.log").read_text() == "of an earlier job\nno such device\n"


def test_a_signal_during_the_start_reaches_the_processes(on_node, monkeypatch):
    start = subprocess.Popen

    def signalled(*arguments, **named):
        signal.raise_signal(signal.SIGUSR1)
        process = start(*arguments, **named)
        time.sleep(1)  # until it handles signals
        return process

    monkeypatch.setattr(slurm_node.subprocess, "Popen", signalled)
    assert on_node(WAITS.format(name="SIGUSR1", code=75)) == 75


@pytest.mark.parametrize(
    ("sent", "code", "returned"),
    [("SIGUSR1", 75, 75), ("SIGTERM", 75, 143), ("SIGTERM", 1, 143), ("SIGUSR1", 1, 1), ("SIGUSR1", 0, 0)],
)
def test_signals_are_forwarded_and_decide_the_exit_code(run_dir, sent, code, returned):
    program = WAITS.format(name=sent, code=code)
    start = (
        f"{NODE}slurm_node._OTHERS_SECONDS = 0\n"
        f"slurm_node.command = lambda *_: [sys.executable, '-c', {program!r}]\n"
        f"sys.exit(slurm_node.main([{str(run_dir)!r}, 'train']))"
    )
    environment = os.environ | {"MASTER_ADDR": "first", "MASTER_PORT": "20012"}
    log = run_dir / "logs" / "launcher.machine0.log"
    with subprocess.Popen([sys.executable, "-c", start], env=environment, stderr=subprocess.DEVNULL) as node:
        end = time.monotonic() + 60
        while not log.exists() or "ready" not in log.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        node.send_signal(getattr(signal, sent))
        assert node.wait(60) == returned
    assert (run_dir / "logs" / "job.stopped").exists() == (returned == 75)
