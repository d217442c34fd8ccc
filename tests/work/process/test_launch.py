"""The launcher passes signals on and hands the workers' exit code back: started for real, with a small worker."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest
from forked_ranks import free_port

from summtune.base.files import read_jsonl
from summtune.base.safe_python import START, python_command
from summtune.launchers import local
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.plan.launch import Launch
from summtune.work.process.stopping import GO_ON_LATER

WORKER = """
import os, pathlib, sys, time
from summtune.work.process.stopping import StopRequest
stop = StopRequest()
stop.listen()
stop.hold()
here = pathlib.Path(__file__).parent
rank = os.environ.get("RANK", "0")
(here / f"ready{rank}").touch()
mode = sys.argv[1]
if mode == "wait":
    while not stop.asked:
        time.sleep(0.05)
    time.sleep(1)
    (here / f"saved{rank}").touch()
    os._exit(75)
sys.exit(int(mode))
"""
ONE = "distributed_type: 'NO'\nnum_processes: 1\n"
TWO = "distributed_type: MULTI_GPU\nnum_processes: 2\n"
REST = """compute_environment: LOCAL_MACHINE
main_process_port: 0
num_machines: 1
machine_rank: 0
mixed_precision: 'no'
rdzv_backend: static
use_cpu: {}
"""


@pytest.fixture
def launch(tmp_path):
    """Start a worker of a few lines, on one process or two."""
    (tmp_path / "worker.py").write_text(WORKER)
    started = []

    def start(processes, mode):
        (tmp_path / "accelerate.yaml").write_text((ONE if processes == 1 else TWO) + REST.format(processes == 1))
        command = python_command("summtune.work.process.launch", "--config_file", str(tmp_path / "accelerate.yaml"))
        command += [str(tmp_path / "worker.py"), mode]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.stderr.close()


def wait_for(*paths):
    end = time.monotonic() + 90
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGUSR1)])
def test_a_signal_reaches_every_worker_and_their_code_comes_back(launch, tmp_path, processes, number):
    process = launch(processes, "wait")
    wait_for(*(tmp_path / f"ready{rank}" for rank in range(processes)))
    process.send_signal(number)
    assert process.wait(60) == GO_ON_LATER
    assert sorted(path.name for path in tmp_path.glob("saved*")) == [f"saved{rank}" for rank in range(processes)]


def test_the_end_of_the_workers_is_the_end_of_the_launcher(launch):
    assert launch(1, "0").wait(90) == 0
    assert launch(1, "4").wait(90) == 4
    failed = launch(2, "4")
    assert failed.wait(90) == 1
    assert "exitcode  : 4" in failed.stderr.read()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_accelerate_changes_nothing_that_the_imports_have_read_already(tmp_path, monkeypatch, device):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import prepare_simple_launcher_cmd_env

    for key in ("OMP_NUM_THREADS", "KMP_AFFINITY", "KMP_BLOCKTIME"):
        monkeypatch.delenv(key, raising=False)
    launch = Launch(distribution="none", processes=1, device=device, config_file="accelerate.yaml")
    (tmp_path / "accelerate.yaml").write_text(to_yaml(accelerate_config(launch, tmp_path)))
    values = local.environment(launch)
    given = launch_command_parser().parse_args(local.command(launch, tmp_path, ["train"])[3:])
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", values)
        _validate_launch_command(given)
        command, environment = prepare_simple_launcher_cmd_env(given)
    assert command == python_command("summtune.worker", str(tmp_path), "train")
    changed = {key for key, value in environment.items() if values.get(key) != value}
    assert {key for key in changed if not key.startswith("ACCELERATE_")} == set()
    assert environment["ACCELERATE_USE_CPU"] == str(device == "cpu")


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_single_worker_is_the_launcher_itself(tmp_path, by_hand):
    """A module goes on in the same Python, unless what is imported has been set up with another environment."""
    (tmp_path / "accelerate.yaml").write_text(ONE + REST.format(True))
    (tmp_path / "single_worker.py").write_text(
        "import json, os, sys\n"
        "environment = {key: os.environ.get(key) for key in ('ACCELERATE_MIXED_PRECISION', 'KMP_BLOCKTIME')}\n"
        "print(json.dumps([__name__, sys.argv[1:], os.getpid(), 'torch' in sys.modules, environment]))\n"
    )
    values = local.environment(Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml"))
    values["PYTHONPATH"] = str(tmp_path)
    if by_hand:
        del values["KMP_BLOCKTIME"]
    command = python_command("summtune.work.process.launch", "--config_file", str(tmp_path / "accelerate.yaml"))
    command += [START, "single_worker", "a", "--b"]
    process = subprocess.Popen(command, env=values, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=90)
    name, arguments, pid, with_torch, environment = json.loads(said)
    assert (process.returncode, name, arguments, pid) == (0, "__main__", ["a", "--b"], process.pid)
    assert with_torch is not by_hand
    assert environment == {"ACCELERATE_MIXED_PRECISION": "no", "KMP_BLOCKTIME": "1"}


@pytest.mark.parametrize(("rank", "cause"), [(0, "1/2 clients joined"), (1, "")])
def test_machines_that_do_not_meet_are_said_with_their_address(tmp_path, rank, cause):
    (tmp_path / "logs").mkdir()
    machines = REST.format(False).replace("num_machines: 1", "num_machines: 2")
    (tmp_path / "accelerate.yaml").write_text(TWO + machines.replace("main_process_port: 0\n", ""))
    port = free_port()
    command = python_command("summtune.work.process.launch", "--config_file", str(tmp_path / "accelerate.yaml"))
    command += ["--machine_rank", str(rank), "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    command += ["--rdzv_conf", "timeout=3", START, "summtune.worker", str(tmp_path), "train"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    ((event,)) = read_jsonl(tmp_path / "logs" / "events.jsonl")
    assert (event["event"], event["stage"], event["rank"], event["expected"]) == ("error", "train", rank, True)
    said = f"machine {rank} ({socket.gethostname()}) did not meet the others in time (got "
    assert event["text"].startswith(said)
    assert cause in event["text"]
    assert f"127.0.0.1:{port}); check that every machine runs, and can open connections to that one" in event["text"]


def test_a_signal_before_the_workers_are_there_ends_the_launcher(launch):
    process = launch(2, "wait")
    time.sleep(0.5)  # it imports
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (GO_ON_LATER, -signal.SIGTERM)
