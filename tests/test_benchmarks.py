"""Every benchmark runs to its end with its smallest setting; no time is compared with a limit."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALLEST = "Setting(size='tiny', batch=4, trained=8, predicted=8, predicted_at_once=4, cuda=False, bf16=False)"


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


@pytest.mark.real
def test_more_dialogues_than_there_are_differ_so_that_every_batch_is_full(result_of):
    rows = result_of("from speed_inputs import dialogues; result = dialogues(1200)")
    assert len({row["dialogue"] for row in rows}) == 1200


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    ("part", "skipped"),
    [
        (1, {}),
        (2, {"qlora": "a CUDA device", "compiled": "minutes", "quickstart": "another test", "vllm": "SUMMTUNE_VLLM"}),
    ],
)
def test_every_part_of_the_proof_on_a_gpu_runs_on_the_cpu_without_test_data(monkeypatch, tmp_path, part, skipped):
    monkeypatch.delenv("SUMMTUNE_TEST_DATA", raising=False)
    monkeypatch.delenv("SUMMTUNE_VLLM", raising=False)
    out = tmp_path / "gpu.json"
    run("gpu.py", "--rehearse", "--part", part, "--minutes", 60, "--out", out)
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["failed"] == []
    parts = result["parts"]
    assert {name for name, entry in parts.items() if entry["status"] == "skipped"} == set(skipped)
    assert all(reason in parts[name]["reason"] for name, reason in dict(skipped).items())
    if part == 1:
        assert 1e8 < parts["inputs"]["result"]["operations_of_a_pair"] < 1e10
        assert parts["training"]["result"]["model_flop_utilisation"] > 0
        assert parts["tests"]["result"]["failed"] == []
        assert parts["prediction"]["result"]["equal texts fp32"] == 1


def test_a_part_without_time_is_skipped_with_its_reason(tmp_path):
    run("gpu.py", "--rehearse", "--only", "lora", "--minutes", 0.1, "--out", tmp_path / "gpu.json")
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert [entry["status"] for entry in parts.values()] == ["skipped"] * 3
    assert "it takes about 20 s (got " in parts["lora"]["reason"]


@pytest.mark.slow
def test_a_part_that_fails_or_takes_too_long_is_recorded_and_the_others_run(result_of):
    program = """
import os, sys, gpu
gpu.PARTS[1] = [gpu.Part("machine", 0, 0.1), gpu.Part("lora", 0, 200), gpu.Part("inputs", 0, 200)]
os.environ["PYTHONPATH"] = str(folder / "broken")
(folder / "broken").mkdir()
(folder / "broken" / "peft.py").write_text("raise ImportError('peft is broken here')")
sys.argv = ["gpu.py", "--rehearse", "--out", str(folder / "gpu.json")]
code = gpu.main()
result = {"code": code, **json.loads((folder / "gpu.json").read_text())["parts"]}"""
    result = result_of(program)
    assert result["code"] == 1
    assert result["machine"]["error"] == "it took more than 1 s and was ended"
    assert "peft is broken here" in json.dumps(result["lora"])
    assert "Traceback" in result["lora"]["traceback"]
    assert result["inputs"]["status"] == "done"


@pytest.mark.slow
@pytest.mark.real
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
def test_a_decoder_only_model_predicts_the_texts_of_the_padded_loop(result_of):
    program = f"""
import decoder_speed
from speed_inputs import Setting
from stand_ins import write_decoder
scene = decoder_speed.Scene(folder, write_decoder(folder / "model", "tiny"), None, {SMALLEST})
result = decoder_speed.training(scene, 1), decoder_speed.prediction(scene, 1)"""
    trained, predicted = result_of(program)
    assert trained["samples_per_second"]["summtune fp32"] > 0
    assert predicted["same_texts"] == {"0-shot fp32": 1, "3-shot fp32": 1}
    assert set(predicted["ratios"]) == {"0-shot fp32 against padded", "3-shot fp32 against padded"}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
@pytest.mark.real
def test_losses_of_a_decoder_only_model_are_those_of_trl(result_of):
    program = f"""
import sys, decoder_speed
from speed_inputs import Setting
from stand_ins import write_decoder
scene = decoder_speed.Scene(folder, write_decoder(folder / "model", "tiny"), sys.executable, {SMALLEST})
result = decoder_speed.equal_losses(scene, 2)["largest_difference"]"""
    assert result_of(program) < 1e-3


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
@pytest.mark.real
def test_measured_memory_is_near_its_estimate(written):
    (row,) = written("memory.py", "--size", "small", "--only", "one process", "--precision", "fp32")["layouts"]
    assert row["estimate_to_measurement"] == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_the_first_step_is_timed_on_both_sides(written):
    (row,) = written("first_step.py", "--runs", 1, "--layouts", "one process")["seconds"]
    assert 0 < row["summtune_processes_up"] < row["summtune_model_loaded"] < row["summtune_first_step"]
    assert row["stock_first_step"] > 0


@pytest.mark.slow
@pytest.mark.real
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
@pytest.mark.real
def test_the_shares_of_a_step_are_all_of_it(written):
    assert sum(written("step_profile.py", "--steps", 1)["shares"].values()) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
@pytest.mark.real
def test_parts_for_the_cpu_are_compared_with_all_of_them(written):
    words = ("--size", "tiny", "--rounds", 1, "--at-once", 7, "--threads", 1, "--precisions", "fp32")
    result = written("cpu_parts.py", *words)
    assert all(part["cpu"]["median"] > 0 for part in result["training fp32"].values() if isinstance(part, dict))
    assert all(part["same_texts"] == 1 for part in result["prediction fp32"].values() if isinstance(part, dict))


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("kind", ["ours", "peer", "memory", "resampling"])
def test_scoring_is_timed_with_its_memory(kind):
    result = json.loads(run("scoring.py", "--one", kind, 20))
    assert result["seconds"] > 0
    assert result["peak_memory_bytes"] > 10_000_000
