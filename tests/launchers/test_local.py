"""Processes are started and ended, their events forwarded and their failures explained."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from summtune.base.errors import StageError, StageStopped, StopAsked
from summtune.base.safe_python import START
from summtune.launchers import local
from summtune.plan.launch import Launch

CPU = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")
SPEAKER = (
    "import sys, os, time, signal; from pathlib import Path; from summtune.runs.events import Events\n"
    "run_dir = Path(sys.argv[1]); events = Events(run_dir, 'train', 0)\n"
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a program in the place of accelerate and return what it said."""

    def start(program, listener=None):
        heard = []
        monkeypatch.setattr(
            local, "command", lambda launch, run_dir, *_: [sys.executable, "-c", SPEAKER + program, str(run_dir)]
        )
        local.run_processes(CPU, tmp_path, ["train", "predict"], listener or heard.append)
        return heard

    return start


def test_events_of_the_processes_reach_the_listener(run, tmp_path):
    heard = run("events.progress(1, 2); events.say('hello'); print('noise'); events.finished()")
    assert [event["event"] for event in heard] == ["progress", "message", "finished"]
    assert (tmp_path / "logs" / "launcher.log").read_text() == "noise\n"


def test_what_is_wrong_with_the_input_decides_the_exit_code(run):
    with pytest.raises(StageError, match="no room for the dialogue") as caught:
        run("events.error('no room for the dialogue', expected=True, exit_code=2); sys.exit(1)")
    assert caught.value.exit_code == 2
    with pytest.raises(StageError) as caught:
        run("events.error('no space is left', expected=True); sys.exit(1)")
    assert caught.value.exit_code == 1


def test_an_expected_error_is_the_cause_rather_than_errors_of_other_ranks(run, tmp_path):
    program = (
        "Events(run_dir, 'train', 1).error('RuntimeError: connection closed by peer', expected=False)\n"
        "events.error('no space is left', expected=True); sys.exit(1)"
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.rank0.log").touch()
    with pytest.raises(StageError, match=r"^the train stage failed: no space is left$") as caught:
        run(program)
    assert caught.value.log == str(tmp_path / "logs" / "train.rank0.log")


def test_an_unexpected_error_names_the_log_of_its_rank(run, tmp_path):
    (tmp_path / "logs").mkdir()
    for log in ("launcher.log", "train.rank1.log"):  # its rank's own log, if it exists
        (tmp_path / "logs" / log).touch()
        with pytest.raises(StageError, match="the train stage failed: ValueError: odd") as caught:
            run("Events(run_dir, 'train', 1).error('ValueError: odd', expected=False); sys.exit(1)")
        assert caught.value.log == str(tmp_path / "logs" / log)


def test_a_process_that_reports_no_error_is_reported_by_its_exit_code(run, tmp_path):
    with pytest.raises(StageError, match="the train stage failed: its processes ended with exit code 3") as caught:
        run("sys.exit(3)")
    assert caught.value.log == str(tmp_path / "logs" / "launcher.log")
    (tmp_path / "logs" / "train.rank0.log").touch()
    with pytest.raises(StageError) as caught:
        run("sys.exit(3)")
    assert caught.value.log == str(tmp_path / "logs" / "train.rank0.log")


def test_a_killed_process_suggests_a_lack_of_memory(run):
    with pytest.raises(StageError, match=r"killed \(signal 9\), .*memory ran out; lower micro_batch_size"):
        run("os.kill(os.getpid(), signal.SIGKILL)")


def test_a_kill_is_recognized_in_the_log_of_the_launcher(run, tmp_path):
    with pytest.raises(StageError, match=r"it was killed \(signal 9\)"):
        run("print('Signal 9 (SIGKILL) received by PID 7', flush=True); sys.exit(1)")
    with pytest.raises(StageError, match="ended with exit code 1") as caught:
        run("sys.exit(1)")
    assert "signal 9" not in str(caught.value), "the log of an earlier run does not count"


def test_a_full_disk_is_reported_as_the_cause_regardless_of_the_error(run, tmp_path, monkeypatch):
    monkeypatch.setattr(local.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_200_000))
    with pytest.raises(StageError, match=r"no space is left on the disk \(got 1 MB free .*\); free some"):
        run("events.error('RuntimeError: unexpected pos 64', expected=False); sys.exit(1)")


def test_an_interrupt_ends_the_processes(run, tmp_path):
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("(run_dir / 'pid').write_text(str(os.getpid())); events.say('started'); time.sleep(60)", interrupt)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
            break
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_asked_to_stop_waits_until_the_processes_have_saved(run, tmp_path):
    def stop(event):
        if event["text"] == "started":
            raise StopAsked(signal.SIGTERM)
        heard.append(event["text"])

    heard = []
    with pytest.raises(StopAsked):
        run(
            "asked = []; signal.signal(signal.SIGUSR1, lambda number, _: asked.append(number)); events.say('started')\n"
            "while not asked:\n    time.sleep(0.05)\n"
            "time.sleep(1); (run_dir / 'saved').touch(); events.say('a checkpoint is written'); sys.exit(75)",
            stop,
        )
    assert (tmp_path / "saved").exists()
    assert heard == ["a checkpoint is written"]


def test_processes_stopped_from_outside_are_not_a_failure(run):
    with pytest.raises(StageStopped, match=r"asked to stop \(got SIGTERM or SIGUSR1\); the same command resumes"):
        run("sys.exit(75)")


def test_children_of_a_process_end_with_it(run, tmp_path):
    run(
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "(run_dir / 'pid').write_text(str(child.pid))"
    )
    status = f"/proc/{(tmp_path / 'pid').read_text()}/stat"
    for _ in range(50):
        try:
            with open(status) as file:  # noqa: PTH123
                ended = file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            ended = True
        if ended:
            return
        time.sleep(0.1)
    pytest.fail("a child outlived its stage")


def test_the_command_is_accelerate_of_this_python_with_the_runs_config(tmp_path):
    command = local.command(CPU, tmp_path, ["train", "predict"])
    assert command == [
        sys.executable, START, "summtune.work.process.launch", "--config_file", str(tmp_path / "accelerate.yaml"),
        START, "summtune.worker", str(tmp_path), "train", "predict",
    ]  # fmt: skip


def test_the_command_on_several_machines_names_rank_address_and_port(tmp_path):
    launch = CPU.model_copy(update={"processes": 4, "machines": 2, "distribution": "data_parallel"})
    command = local.command(launch, tmp_path, ["train"], local.MachineRank(1, "first", 1234))
    assert command[3:] == [
        "--config_file", str(tmp_path / "accelerate.yaml"),
        "--machine_rank", "1", "--main_process_ip", "first", "--main_process_port", "1234", "--rdzv_conf", "timeout=60",
        START, "summtune.worker", str(tmp_path), "train",
    ]  # fmt: skip


def test_an_exception_of_the_watch_ends_the_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])

    def watch():
        raise StageError("machine 1 has disconnected")

    machine = local.MachineRank(0, "first", 1234)
    started = time.monotonic()
    with pytest.raises(StageError, match="machine 1 has disconnected"):
        local.run_processes(CPU, tmp_path, ["train"], print, machine, watch)
    assert time.monotonic() - started < 30
    assert (tmp_path / "logs" / "launcher.machine0.log").exists()


def test_variables_of_other_launches_are_removed_from_the_environment(monkeypatch):
    for key in (
        "ACCELERATE_MIXED_PRECISION",
        "FSDP_VERSION",
        "MASTER_PORT",
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "MACHINE_RANK",
        "PMI_SIZE",
    ):
        monkeypatch.setenv(key, "7")
    monkeypatch.setenv("RANKING", "kept")
    values = local.environment(CPU)
    assert not {"ACCELERATE_MIXED_PRECISION", "FSDP_VERSION", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"} & set(
        values
    )
    assert values["RANKING"] == "kept"
    assert (values["HF_HUB_OFFLINE"], values["HF_HUB_DISABLE_TELEMETRY"]) == ("1", "1")
    assert values["SUMMTUNE_PARENT_PID"] == str(os.getpid())
    assert values["DS_ACCELERATOR"] == "cpu"
    assert signal.getsignal(signal.SIGINT) is not None


@pytest.mark.parametrize(
    ("device", "cores", "given", "threads"),
    [("cpu", 6, None, "6"), ("cpu", None, None, "1"), ("cpu", 6, "3", "3"), ("cuda", 6, None, "1")],
)
def test_a_single_process_gets_its_thread_count_from_the_environment(monkeypatch, device, cores, given, threads):
    monkeypatch.setattr(local.psutil, "cpu_count", lambda logical: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    values = local.environment(CPU.model_copy(update={"device": device}))
    assert values["OMP_NUM_THREADS"] == threads
    assert ("KMP_BLOCKTIME" in values) is (device == "cpu")
    several = CPU.model_copy(update={"processes": 2, "distribution": "data_parallel", "device": device})
    assert local.environment(several).get("OMP_NUM_THREADS") == given  # torchrun divides the cores itself


def test_workers_on_a_cpu_keep_the_memory_of_large_tensors(monkeypatch):
    sizes = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    for key in sizes:
        monkeypatch.delenv(key, raising=False)
    assert sizes.items() <= local.environment(CPU).items()
    assert not sizes.keys() & local.environment(CPU.model_copy(update={"device": "cuda"})).keys()
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    assert local.environment(CPU)["MALLOC_MMAP_MAX_"] == "7", "the user's value is kept"


def test_workers_find_the_ninja_of_an_environment_that_is_not_activated(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    assert local.environment(CPU)["PATH"] == f"/usr/bin{os.pathsep}{Path(sys.executable).parent}"
    monkeypatch.delenv("PATH")
    assert local.environment(CPU)["PATH"] == str(Path(sys.executable).parent)


def test_ds_accelerator_is_not_set_on_a_gpu(monkeypatch):
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    assert "DS_ACCELERATOR" not in local.environment(CPU.model_copy(update={"device": "cuda"}))


def test_each_machine_sees_its_share_of_the_devices(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    launch = CPU.model_copy(update={"device": "cuda", "processes": 6, "machines": 3})
    assert local.environment(launch)["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize(
    ("visible", "processes", "seen"),
    [(None, 1, "0"), (None, 3, "0,1,2"), ("2,3", 1, "2"), ("2,3", 2, "2,3"), ("GPU-a, GPU-b", 1, "GPU-a")],
)
def test_as_many_devices_are_visible_as_processes(monkeypatch, visible, processes, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launch = CPU.model_copy(update={"device": "cuda", "processes": processes})
    assert local.environment(launch)["CUDA_VISIBLE_DEVICES"] == seen


def test_a_process_that_shards_its_model_sees_all_of_its_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    launch = CPU.model_copy(update={"device": "cuda", "devices_per_process": 3})
    assert local.environment(launch)["CUDA_VISIBLE_DEVICES"] == "4,5,6"
