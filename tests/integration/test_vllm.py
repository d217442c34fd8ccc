"""Whole runs with `generation.engine: vllm`, and the server's end however the run ends. The server is a stand-in."""

import os
import re
import signal
import subprocess

import pytest
import slurm_cluster
from families import decoder_only
from installed_command import command_words
from real_command import layout, logs_of, run_to_the_end, wait_until, workers_of
from stand_in_vllm import servers, write_stand_in

from summtune.base.files import read_jsonl

pytestmark = [decoder_only, pytest.mark.slow]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Make the stand-in the executable, in one of its modes; return its path. No server is left."""
    path = tmp_path / "bin" / "vllm"
    monkeypatch.setenv("SUMMTUNE_VLLM", str(path))

    def use(mode="", after=0):
        return write_stand_in(path, mode, after)

    yield use
    for process in servers(path):
        process.kill()


@pytest.fixture
def recipe(write_recipe):
    """A prompted model."""
    training = ("datasets", "learning_rate", "logging_steps")
    return write_recipe("vllm", kind="prompt", **dict.fromkeys(training), generation={"engine": "vllm"})


def kept(run_dir):
    return sum(len(list(read_jsonl(path))) for path in (run_dir / "predictions.partial").glob("rank*.jsonl"))


@pytest.mark.parametrize("keys", [{}, {"adapter": "lora", "lora_r": 4}], ids=["full", "LoRA"])
def test_a_trained_model_generates_the_same_with_both_engines_and_is_trained_once(
    write_recipe, tmp_path, stand_in, keys
):
    recipe = write_recipe("trained", num_epochs=1, val_set_size=4, **keys)
    outputs = tmp_path / "outputs"
    local = run_to_the_end(recipe, outputs / "local")
    executable = stand_in()
    served = run_to_the_end(recipe, outputs / "served", *layout(**{"generation.engine": "vllm"}), reuses=True)
    assert served.started == ["predict"], "the training is that of the other run"
    assert served.texts == local.texts
    stats, expected = (run.json("prediction_stats.json") for run in (served, local))
    assert stats["stopping"] == expected["stopping"]
    assert (served.folder / "report.html").is_file()
    assert servers(executable) == []
    both = run_to_the_end(recipe, tmp_path / "both", *layout(**{"generation.engine": "vllm"}))
    assert both.started == ["train", "predict"]
    assert both.texts == local.texts


def test_a_smoke_run_starts_the_server_too(recipe, tmp_path, stand_in):
    executable = stand_in("canned")
    run = run_to_the_end(recipe, tmp_path / "run", "--smoke")
    assert "smoke  passed" in run.said
    assert "memory  not measured: vLLM reserves what it finds" in run.said
    assert servers(executable) == []


def test_a_finished_run_summarizes_with_the_engine_that_was_scored(recipe, tmp_path, stand_in):
    executable = stand_in("canned")
    run = run_to_the_end(recipe, tmp_path / "run")
    (tmp_path / "one.txt").write_text("#Person1#: Is the room free?\n#Person2#: Yes.\n")
    command = [*command_words(), "summarize", run.folder, tmp_path / "one.txt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ tokens\n", done.stdout)
    assert servers(executable) == []


def end_of_the_command(started, _run_dir):
    started.send(signal.SIGKILL)


def end_of_the_worker(_started, run_dir):
    (worker,) = workers_of(run_dir)
    os.kill(worker, signal.SIGKILL)


def interrupt(started, _run_dir):
    started.send(signal.SIGINT)


def termination(started, _run_dir):
    started.send(signal.SIGTERM)


@pytest.mark.parametrize("end", [end_of_the_command, end_of_the_worker, interrupt, termination])
def test_the_server_ends_with_the_run_and_the_same_command_resumes(recipe, tmp_path, stand_in, command, end):
    executable = stand_in("stuck", after=5)
    run_dir = tmp_path / "run"
    started = command(recipe, run_dir)
    wait_until(lambda: kept(run_dir) == 5, 90, "five answers")
    assert len(servers(executable)) >= 2, "the server and its keeper"
    end(started, run_dir)
    code, said = started.finish(90)
    assert code != 0, said
    wait_until(lambda: not servers(executable), 60, "the end of the server")
    stand_in("canned")
    run = run_to_the_end(recipe, run_dir, reuses=True)
    assert len(run.texts) == 12
    events = [row for row in read_jsonl(run_dir / "logs" / "events.jsonl") if row["event"] == "progress"]
    resumed = max(at for at, row in enumerate(events) if row["done"] == 5)
    assert [row["done"] for row in events[resumed:]] == list(range(5, 13)), "only the others were asked again"


@pytest.mark.parametrize(("mode", "said_of"), [("exits", "before it answered"), ("dies", "while it generated")])
def test_a_failed_server_fails_the_run_with_its_cause(recipe, tmp_path, stand_in, command, mode, said_of):
    executable = stand_in(mode, after=1)
    code, said = command(recipe, tmp_path / "run").finish(90)
    assert code == 1, said
    assert f"vLLM's server ended {said_of}" in said
    assert "No available memory" in said or "CUDA out of memory" in said
    assert servers(executable) == []


@pytest.mark.slurm
def test_a_slurm_job_starts_the_server_and_finds_its_executable_after_setup(
    recipe, tmp_path, tmp_path_factory, stand_in, command, monkeypatch
):
    if (why_not := slurm_cluster.missing()) is not None:
        pytest.skip(why_not)
    executable = stand_in("canned")
    monkeypatch.delenv("SUMMTUNE_VLLM")
    cluster = slurm_cluster.Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        for key, value in cluster.environment.items():
            monkeypatch.setenv(key, value)
        job = layout(launcher="slurm", **{"slurm.nodes": 1})
        code, said = command(recipe, tmp_path / "none", *job).finish(120)
        assert code != 0, said
        assert "got no value of SUMMTUNE_VLLM" in said
        setup = layout(**{"slurm.setup": f"['export SUMMTUNE_VLLM={executable}']"})
        run = run_to_the_end(recipe, tmp_path / "run", *job, *setup)
        assert len(run.texts) == 12, logs_of(run.folder)
        assert servers(executable) == []
    finally:
        cluster.stop()
