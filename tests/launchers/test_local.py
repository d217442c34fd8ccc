"""Processes are started, heard, ended, and their failures explained."""

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
        local.run_stages(CPU, tmp_path, ["train", "predict"], listener or heard.append)
        return heard

    return start


def test_what_the_processes_say_arrives(run, tmp_path):
    heard = run("events.progress(1, 2); events.say('hello'); print('noise'); events.finished()")
    assert [event["event"] for event in heard] == ["progress", "message", "finished"]
    assert (tmp_path / "logs" / "launcher.log").read_text() == "noise\n"


def test_the_first_cause_is_told_rather_than_what_the_others_say(run, tmp_path):
    program = (
        "Events(run_dir, 'train', 1).error('RuntimeError: connection closed by peer', expected=False)\n"
        "events.error('no space is left', expected=True); sys.exit(1)"
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.rank0.log").touch()
    with pytest.raises(StageError, match=r"^the train stage failed: no space is left$") as caught:
        run(program)
    assert caught.value.log == str(tmp_path / "logs" / "train.rank0.log")


def test_an_unexpected_error_is_told_with_the_log_of_its_rank(run, tmp_path):
    (tmp_path / "logs").mkdir()
    for log in ("launcher.log", "train.rank1.log"):  # of its rank, where it got so far
        (tmp_path / "logs" / log).touch()
        with pytest.raises(StageError, match="the train stage failed: ValueError: odd") as caught:
            run("Events(run_dir, 'train', 1).error('ValueError: odd', expected=False); sys.exit(1)")
        assert caught.value.log == str(tmp_path / "logs" / log)


def test_a_process_that_says_nothing_is_told_by_its_exit_code(run, tmp_path):
    with pytest.raises(StageError, match="the train stage failed: its processes ended with exit code 3") as caught:
        run("sys.exit(3)")
    assert caught.value.log == str(tmp_path / "logs" / "launcher.log")
    (tmp_path / "logs" / "train.rank0.log").touch()
    with pytest.raises(StageError) as caught:
        run("sys.exit(3)")
    assert caught.value.log == str(tmp_path / "logs" / "train.rank0.log")


def test_a_killed_process_most_likely_had_too_little_memory(run):
    with pytest.raises(
        StageError, match=r"it was killed \(signal 9\), most often for lack of memory; lower micro_batch"
    ):
        run("os.kill(os.getpid(), signal.SIGKILL)")


def test_a_kill_is_known_by_what_the_launcher_writes_down(run, tmp_path):
    with pytest.raises(StageError, match=r"it was killed \(signal 9\)"):
        run("print('Signal 9 (SIGKILL) received by PID 7', flush=True); sys.exit(1)")
    with pytest.raises(StageError, match="ended with exit code 1") as caught:
        run("sys.exit(1)")
    assert "signal 9" not in str(caught.value), "what an earlier run wrote does not count"


def test_a_full_disk_is_the_cause_of_whatever_the_libraries_say(run, tmp_path, monkeypatch):
    monkeypatch.setattr(local.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_200_000))
    match = (
        r"the train stage failed: no space is left on the disk \(got 1 MB free below .*\); free some, and give the same"
    )
    with pytest.raises(StageError, match=match):
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


def test_who_is_asked_to_stop_waits_until_the_processes_have_saved(run, tmp_path):
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


def test_processes_that_were_asked_by_another_to_stop_are_no_failure(run):
    with pytest.raises(StageStopped, match=r"the train stage was asked to stop \(got SIGTERM or SIGUSR1\); the same"):
        run("sys.exit(75)")


def test_what_a_process_leaves_running_is_ended_with_it(run, tmp_path):
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


def test_the_command_is_accelerate_of_this_python_with_its_own_config(tmp_path):
    command = local.command(CPU, tmp_path, ["train", "predict"])
    assert command == [
        sys.executable, START, "summtune.work.process.launch", "--config_file", str(tmp_path / "accelerate.yaml"),
        START, "summtune.worker", str(tmp_path), "train", "predict",
    ]  # fmt: skip


def test_on_several_machines_the_command_says_which_one_and_where_they_meet(tmp_path):
    launch = CPU.model_copy(update={"processes": 4, "machines": 2, "distribution": "data_parallel"})
    command = local.command(launch, tmp_path, ["train"], local.Place(1, "first", 1234))
    assert command[3:] == [
        "--config_file", str(tmp_path / "accelerate.yaml"),
        "--machine_rank", "1", "--main_process_ip", "first", "--main_process_port", "1234", "--rdzv_conf", "timeout=60",
        START, "summtune.worker", str(tmp_path), "train",
    ]  # fmt: skip


def test_what_a_check_raises_ends_the_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])

    def check():
        raise StageError("machine 1 has gone")

    place = local.Place(0, "first", 1234)
    started = time.monotonic()
    with pytest.raises(StageError, match="machine 1 has gone"):
        local.run_stages(CPU, tmp_path, ["train"], print, place, check)
    assert time.monotonic() - started < 30
    assert (tmp_path / "logs" / "launcher.machine0.log").exists()


def test_what_other_launches_left_in_the_environment_is_not_passed_on(monkeypatch):
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
def test_a_single_process_has_its_threads_before_it_imports_anything(monkeypatch, device, cores, given, threads):
    monkeypatch.setattr(local.psutil, "cpu_count", lambda logical: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    values = local.environment(CPU.model_copy(update={"device": device}))
    assert values["OMP_NUM_THREADS"] == threads
    assert ("KMP_BLOCKTIME" in values) is (device == "cpu")
    several = CPU.model_copy(update={"processes": 2, "distribution": "data_parallel", "device": device})
    assert local.environment(several).get("OMP_NUM_THREADS") == given  # torchrun shares the machine out itself


def test_workers_on_a_cpu_keep_the_memory_of_large_tensors(monkeypatch):
    sizes = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    for key in sizes:
        monkeypatch.delenv(key, raising=False)
    assert sizes.items() <= local.environment(CPU).items()
    assert not sizes.keys() & local.environment(CPU.model_copy(update={"device": "cuda"})).keys()
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    assert local.environment(CPU)["MALLOC_MMAP_MAX_"] == "7", "what the user chose"


def test_workers_find_the_ninja_of_an_environment_that_is_not_activated(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    assert local.environment(CPU)["PATH"] == f"/usr/bin{os.pathsep}{Path(sys.executable).parent}"
    monkeypatch.delenv("PATH")
    assert local.environment(CPU)["PATH"] == str(Path(sys.executable).parent)


def test_deepspeed_finds_the_gpu_itself(monkeypatch):
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    assert "DS_ACCELERATOR" not in local.environment(CPU.model_copy(update={"device": "cuda"}))


def test_each_machine_has_its_share_of_the_devices(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    launch = CPU.model_copy(update={"device": "cuda", "processes": 6, "machines": 3})
    assert local.environment(launch)["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize(
    ("visible", "processes", "seen"),
    [(None, 1, "0"), (None, 3, "0,1,2"), ("2,3", 1, "2"), ("2,3", 2, "2,3"), ("GPU-a, GPU-b", 1, "GPU-a")],
)
def test_processes_see_a_device_each(monkeypatch, visible, processes, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launch = CPU.model_copy(update={"device": "cuda", "processes": processes})
    assert local.environment(launch)["CUDA_VISIBLE_DEVICES"] == seen
