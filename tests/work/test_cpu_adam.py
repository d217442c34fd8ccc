"""DeepSpeed's CPU optimizer is compiled with a word, or its failure is told."""

import os
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("deepspeed")

from summtune.errors import StageError
from summtune.events import Events
from summtune.files import read_jsonl, write_json
from summtune.work import cpu_adam

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


def plan(deepspeed):
    return SimpleNamespace(recipe=SimpleNamespace(deepspeed=deepspeed))


def prepare(run_dir, config):
    (run_dir / "logs").mkdir(exist_ok=True)
    write_json(run_dir / "ds_config.json", config)
    cpu_adam.prepare(plan("ds.json"), run_dir, Events(run_dir, "train", 0))
    events = run_dir / "logs" / "events.jsonl"
    return [row["text"] for row in read_jsonl(events)] if events.exists() else []


def test_nothing_is_compiled_without_offload(builder, tmp_path):
    assert prepare(tmp_path, {"zero_optimization": {"stage": 2}}) == []
    write_json(tmp_path / "ds_config.json", OFFLOAD)  # of an earlier start
    cpu_adam.prepare(plan(None), tmp_path, Events(tmp_path, "train", 0))
    assert builder.loaded == 0


def test_the_first_time_is_announced(builder, tmp_path):
    (said,) = prepare(tmp_path, OFFLOAD)
    assert said == "compiling DeepSpeed's optimizer for the CPU, once on this machine: about a minute"
    assert builder.loaded == 1
    (tmp_path / "built" / "cpu_adam" / "cpu_adam.so").touch()
    assert len(prepare(tmp_path, OFFLOAD)) == 1, "nothing new was said"


def test_a_failure_is_told(builder, tmp_path):
    builder.error = RuntimeError("Error building extension 'cpu_adam'\nmore")
    with pytest.raises(
        StageError, match=r"cannot be compiled \(got Error building extension 'cpu_adam'\); it needs g\+\+"
    ):
        prepare(tmp_path, OFFLOAD)


def test_only_a_stale_lock_is_removed(tmp_path):
    lock = tmp_path / "lock"
    cpu_adam.remove_stale_lock(lock)
    lock.touch()
    cpu_adam.remove_stale_lock(lock)
    assert lock.exists()
    os.utime(lock, (time.time() - 1000,) * 2)
    cpu_adam.remove_stale_lock(lock)
    assert not lock.exists()
