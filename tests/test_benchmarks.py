"""Every benchmark runs to its end with its smallest setting; no time is compared with a limit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALLEST = "Setting(size='tiny', batch=4, trained=8, predicted=8, predicted_at_once=4, cuda=False, bf16=False)"

needs_dialogsum = pytest.mark.skipif("SUMMTUNE_TEST_DATA" not in os.environ, reason="SUMMTUNE_TEST_DATA is unset")


def run(*words, code=0):
    """Run Python in the folder of the benchmarks, without a GPU; return what it printed."""
    command = [sys.executable, *map(str, words)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=BENCHMARKS, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def result_of(tmp_path):
    """Run the lines of a program, which may write below ``folder``; return its ``result``."""

    def call(program):
        lines = ["import json; from pathlib import Path", f"folder = Path({str(tmp_path)!r})", program]
        return json.loads(run("-c", "\n".join([*lines, "print(json.dumps(result))"])).splitlines()[-1])

    return call


@pytest.fixture
def written(tmp_path):
    """Run a benchmark that is given a file for its result; return what it wrote."""

    def call(name, *words):
        run(name, *words, "--out", tmp_path / "result.json")
        return json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))

    return call


def test_the_gpu_benchmark_measures_nothing_without_a_gpu():
    assert "no GPU can be used" in run("gpu.py", code=1)


@needs_dialogsum
def test_more_dialogues_than_there_are_differ_so_that_every_batch_is_full(result_of):
    rows = result_of("from speed_inputs import dialogues; result = dialogues(1200)")
    assert len({row["dialogue"] for row in rows}) == 1200


@pytest.mark.slow
@needs_dialogsum
def test_the_parts_of_the_gpu_benchmark_run_on_a_cpu(result_of):
    program = f"""
import gpu, speed_inputs, speed_prediction, speed_training
from speed_inputs import Setting
setting = gpu.ON_GPU = {SMALLEST}
result = {{
    "training": speed_training.training(folder, setting, 1)["samples_per_second"],
    "operations": gpu.operations(folder / "model", speed_inputs.dialogues(8)),
    "lora": gpu.lora(folder, 1)["samples_per_second"],
    "prediction": speed_prediction.prediction(folder, setting, 1)["same_text_fp32"],
}}"""
    result = result_of(program)
    assert result["training"].keys() == {"summtune fp32", "Seq2SeqTrainer fp32"}
    assert result["lora"].keys() == {"full", "lora"}
    assert 1e8 < result["operations"] < 1e10
    assert result["prediction"] == {"Seq2SeqTrainer fp32": 1, "one at a time fp32": 1}


@pytest.mark.slow
@needs_dialogsum
def test_losses_and_endings_are_those_of_the_stock_programs(result_of):
    program = f"""
import speed_prediction, speed_training
from speed_inputs import Setting
setting = {SMALLEST}
losses = speed_training.equal_losses(folder, setting, steps=2)["largest_difference"]["fp32"]
result = losses, speed_prediction.endings(folder, setting, 1)["same_text_fp32"]"""
    difference, same = result_of(program)
    assert difference < 1e-3
    assert same == 1


@pytest.mark.slow
def test_start_up_is_timed(written):
    result = written("startup.py", "--runs", 1)
    assert result["programs"]["summtune --help"]["ratio_to_summtune_help"] == 1
    assert result["programs"]["summtune validate recipes/lora.yaml"]["median_seconds"] > 0


@pytest.mark.slow
def test_every_stage_is_measured_for_its_scaling(written):
    rows = written("scaling.py", "--sizes", 20)["stages"]
    assert [row["stage"] for row in rows] == ["command", "tokenize", "tokenize again", "train", "predict"]
    assert all(row["seconds"] > 0 for row in rows)


@pytest.mark.slow
@needs_dialogsum
def test_measured_memory_is_near_its_estimate(written):
    (row,) = written("memory.py", "--size", "small", "--only", "one process", "--precision", "fp32")["layouts"]
    assert row["estimate_to_measurement"] == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_the_first_step_is_timed_on_both_sides(written):
    (row,) = written("first_step.py", "--runs", 1, "--layouts", "one process")["seconds"]
    assert 0 < row["summtune_processes_up"] < row["summtune_model_loaded"] < row["summtune_first_step"]
    assert row["stock_first_step"] > 0


@pytest.mark.slow
@needs_dialogsum
def test_checkpoints_are_timed_on_both_sides(written):
    (row,) = written("checkpoint.py", "--size", "tiny", "--steps", 3, "--layouts", "one process")["seconds"]
    assert min(row["summtune_step"], row["stock_step"]) >= 0
    assert {"summtune_checkpoint", "stock_checkpoint", "ratio"} < row.keys()


@pytest.mark.slow
def test_a_killed_training_ends_like_an_undisturbed_one():
    program = """
import sys, soak
soak.RECIPE["max_steps"] = 6
sys.argv = ["soak.py", "--kills", "1", "--modes", "one process"]
soak.main()"""
    assert "one process: bitwise the same" in run("-c", program)


@pytest.mark.slow
@needs_dialogsum
def test_the_shares_of_a_step_are_all_of_it(written):
    assert sum(written("step_profile.py", "--steps", 1)["shares"].values()) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
@needs_dialogsum
def test_parts_for_the_cpu_are_compared_with_all_of_them(written):
    words = ("--size", "tiny", "--rounds", 1, "--at-once", 7, "--threads", 1, "--precisions", "fp32")
    result = written("cpu_parts.py", *words)
    assert all(part["cpu"]["median"] > 0 for part in result["training fp32"].values() if isinstance(part, dict))
    assert all(part["same_texts"] == 1 for part in result["prediction fp32"].values() if isinstance(part, dict))


@pytest.mark.slow
@needs_dialogsum
@pytest.mark.parametrize("kind", ["ours", "peer", "memory", "resampling"])
def test_scoring_is_timed_with_its_memory(kind):
    result = json.loads(run("scoring.py", "--one", kind, 20))
    assert result["seconds"] > 0
    assert result["peak_memory_bytes"] > 10_000_000
