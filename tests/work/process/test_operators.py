"""Compiling DeepSpeed's CPU optimizer is announced, and its failure reported."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from made_up_recipes import made_up_plan

pytest.importorskip("deepspeed")

from summtune.base.errors import StageError
from summtune.base.files import read_jsonl
from summtune.runs.events import Events
from summtune.work.process import operators

OFFLOAD = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}


class Builder:
    """In the place of DeepSpeed's: compiles nothing."""

    loaded = 0
    error: Exception | None = None

    def load(self, verbose):
        type(self).loaded += 1
        if self.error:
            raise self.error


@pytest.fixture
def builder(monkeypatch, tmp_path):
    fresh = type("Fresh", (Builder,), {"loaded": 0})
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "built"))
    monkeypatch.setattr("deepspeed.ops.op_builder.CPUAdamBuilder", fresh)
    return fresh


def prepare(run_dir, config):
    (run_dir / "logs").mkdir(exist_ok=True)
    operators.prepare(made_up_plan(deepspeed=config), Events(run_dir, "train", 0))
    events = run_dir / "logs" / "events.jsonl"
    return [row["text"] for row in read_jsonl(events)] if events.exists() else []


def test_nothing_is_compiled_without_offload(builder, tmp_path):
    assert prepare(tmp_path, {"zero_optimization": {"stage": 2}}) == []
    operators.prepare(made_up_plan(), Events(tmp_path, "train", 0))
    assert builder.loaded == 0


def test_the_first_compilation_is_announced(builder, tmp_path):
    (said,) = prepare(tmp_path, OFFLOAD)
    assert said == "compiling DeepSpeed's optimizer for the CPU, once on this machine: about a minute"
    assert builder.loaded == 1
    (tmp_path / "built" / "cpu_adam" / "cpu_adam.so").touch()
    assert len(prepare(tmp_path, OFFLOAD)) == 1, "nothing new was reported"


def test_a_failed_compilation_is_reported(builder, tmp_path):
    builder.error = RuntimeError("Error building extension 'cpu_adam'\nmore")
    with pytest.raises(
        StageError, match=r"cannot be compiled \(got Error building extension 'cpu_adam'\); it needs g\+\+"
    ):
        prepare(tmp_path, OFFLOAD)


def test_an_old_abandoned_lock_is_removed(tmp_path):
    lock, said = tmp_path / "lock", []
    operators.free_lock(lock, said.append)
    lock.touch()
    started = time.monotonic()
    operators.free_lock(lock, said.append, stale_seconds=1.0)
    assert not lock.exists()
    assert 0.5 < time.monotonic() - started < 10
    assert said == [f"waiting for {lock} (held by another machine, or left by a killed run)"]


def test_a_held_lock_is_waited_for_until_its_process_is_killed(tmp_path):
    lock, said = tmp_path / "lock", []
    lock.touch()
    os.utime(lock, (time.time() - 1000,) * 2)
    hold = "import sys, time; held = open(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with holder, ThreadPoolExecutor() as pool:
        waiting = pool.submit(operators.free_lock, lock, said.append)
        time.sleep(1.5)
        assert lock.exists()
        holder.kill()
        waiting.result(20)
    assert not lock.exists()
    assert said[0] == f"waiting for {lock} (another process is compiling)"


@pytest.mark.parametrize("name", operators.OPERATORS)
def test_the_locks_of_all_operators_are_freed(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    lock = tmp_path / name / "lock"
    lock.parent.mkdir()
    lock.touch()
    os.utime(lock, (time.time() - 1000,) * 2)
    operators.free_locks(print)
    assert not lock.exists()


@pytest.mark.parametrize("before", [None, "0"])
def test_importing_muon_does_not_import_torchs_compiler(before):
    program = (
        "import os, sys\n"
        "from summtune.work.process import operators\n"
        "operators.leave_muon_uncompiled()\n"
        "print(operators._MUON in sys.modules, 'torch._inductor.compile_fx' in sys.modules)\n"
        "print(os.environ.get(operators._NO_COMPILER))"
    )
    environment = {key: value for key, value in os.environ.items() if key != operators._NO_COMPILER}
    if before is not None:
        environment[operators._NO_COMPILER] = before
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-2:] == ["True False", str(before)], done.stderr
