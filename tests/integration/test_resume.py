"""A run that is killed or interrupted at any point resumes to the same end with the same command."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from families import both_families, quick_for_one_family
from installed_command import command_words
from real_command import (
    Command,
    Finished,
    layout,
    processes_of,
    run_to_the_end,
    same_weights,
    wait_until,
    workers_of,
)

from summtune.base.files import read_jsonl

pytestmark = pytest.mark.usefixtures("compiled")

STEPS = 20


@pytest.fixture(scope="session")
def recipe(write_recipe):
    generation = {"max_new_tokens": 24, "batch_size": 1}
    return write_recipe("resume", max_steps=STEPS, save_steps=1, generation=generation)


@pytest.fixture(scope="session")
def reference(recipe, tmp_path_factory):
    """The run that nothing disturbed."""
    return run_to_the_end(recipe, tmp_path_factory.mktemp("reference") / "run")


def last_checkpoint(run_dir):
    manifests = (run_dir / "checkpoints").glob("checkpoint-*/manifest.json")
    return max((int(path.parent.name.split("-")[1]) for path in manifests), default=0)


def logged_steps(run_dir):
    path = run_dir / "train_log.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def generated_lines(run_dir):
    path = run_dir / "predictions.partial" / "rank0.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.fixture(scope="session")
def killed(recipe, tmp_path_factory):
    """The directory of a run that was killed, with all its processes, in the middle of training."""
    run_dir = tmp_path_factory.mktemp("killed") / "run"
    command = Command(recipe, run_dir)
    wait_until(lambda: last_checkpoint(run_dir) >= 3, what="the third checkpoint")
    command.kill_everything()
    assert 3 <= last_checkpoint(run_dir) < STEPS
    assert not (run_dir / "model").exists()
    return run_dir


@pytest.fixture
def killed_run(killed, tmp_path):
    return shutil.copytree(killed, tmp_path / "killed")


@pytest.fixture
def finished_run(reference, tmp_path):
    return shutil.copytree(reference.folder, tmp_path / "finished")


def assert_same_end(run, reference):
    assert run.losses == reference.losses
    assert same_weights(run.weights, reference.weights)
    assert run.texts == reference.texts
    assert run.json("metrics.json")["metrics"] == reference.json("metrics.json")["metrics"]


def assert_nearly_same_end(run, reference):
    for key in ("loss", "grad_norm"):
        assert [row[key] for row in run.steps] == pytest.approx([row[key] for row in reference.steps], rel=1e-3)
    assert [row["step"] for row in run.steps] == [row["step"] for row in reference.steps]
    assert run.texts == reference.texts


@quick_for_one_family
def test_a_killed_run_resumes_to_the_same_end(reference, recipe, killed_run):
    step = last_checkpoint(killed_run)
    run = run_to_the_end(recipe, killed_run)
    assert f"resuming from checkpoint-{step}" in run.said
    assert run.json("training.json")["resumed_from_step"] == step
    assert_same_end(run, reference)


@pytest.mark.slow
@both_families
def test_a_killed_training_on_two_processes_resumes_from_its_shards(reference, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    zero = layout(deepspeed="ds_configs/zero2.json", num_processes=2, micro_batch_size=4)
    one = command(recipe, run_dir, *zero)
    wait_until(lambda: last_checkpoint(run_dir) >= 3, what="the third checkpoint")
    one.kill_everything()
    step = last_checkpoint(run_dir)
    assert step < STEPS
    run = run_to_the_end(recipe, run_dir, *zero)
    assert run.json("training.json")["resumed_from_step"] == step
    assert [row["loss"] for row in run.steps] == pytest.approx([row["loss"] for row in reference.steps], rel=1e-3)


@pytest.mark.slow
def test_workers_end_when_only_the_command_is_killed(recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    one = command(recipe, run_dir, *layout(max_steps=1000))  # far more than it can train until the workers notice
    wait_until(lambda: last_checkpoint(run_dir) >= 2, what="the second checkpoint")
    one.send(signal.SIGKILL)
    one.process.wait()
    started = time.monotonic()
    wait_until(lambda: not processes_of(run_dir), 20, "the end of the workers")
    assert time.monotonic() - started < 6
    assert not (run_dir / "model").exists()


@pytest.mark.slow
@both_families
def test_an_interrupted_run_resumes_in_any_stage(reference, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    moments = {
        "start-up": lambda one: bool(set(processes_of(run_dir)) - {one.process.pid}),
        "train": lambda one: last_checkpoint(run_dir) >= 2,
        "predict": lambda one: generated_lines(run_dir) >= 1,
    }
    for name, come in moments.items():
        one = command(recipe, run_dir)
        wait_until(lambda one=one, come=come: come(one), what=name)
        one.send(signal.SIGINT)
        code, said = one.finish(40)
        assert code == 130, f"{name}: {said}"
        assert "interrupted; the same command resumes" in said
        assert "Traceback" not in said
        assert processes_of(run_dir) == [], name
        assert not (run_dir / "predictions.jsonl").exists()
    assert (run_dir / "model").exists()
    assert_same_end(run_to_the_end(recipe, run_dir), reference)


@quick_for_one_family
def test_a_killed_prediction_resumes_with_the_missing_dialogues(reference, recipe, finished_run, command):
    (finished_run / "predictions.jsonl").unlink()
    one = command(recipe, finished_run)
    wait_until(lambda: generated_lines(finished_run) >= 3, what="the third summary")
    one.kill_everything()
    path = finished_run / "predictions.partial" / "rank0.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert 3 <= len(rows) < 12
    # Existing lines are kept as they are: a marked one is in the final file. The last line is truncated.
    marked = [json.dumps(row | {"text": "as it was"}) + "\n" for row in rows]
    path.write_text("".join(marked)[:-4])
    run = run_to_the_end(recipe, finished_run)
    assert "train  already complete" in run.said
    assert sorted(run.texts.values()).count("as it was") == len(rows) - 1
    changed = {name for name, text in run.texts.items() if text != reference.texts[name]}
    assert len(changed) == len(rows) - 1
    assert not path.parent.exists()


def test_a_finished_run_is_not_run_again(recipe, finished_run):
    launches = (finished_run / "logs" / "launcher.log").stat()
    kept = {path: path.stat().st_mtime_ns for path in finished_run.glob("*.jsonl")}
    started = time.monotonic()
    run = run_to_the_end(recipe, finished_run)
    assert time.monotonic() - started < 10
    assert run.said.count("already complete") == 4
    assert "starting" not in run.said
    assert (finished_run / "logs" / "launcher.log").stat() == launches
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
def test_fresh_starts_from_scratch(recipe, finished_run, command):
    one = command(recipe, finished_run, "--fresh")
    wait_until(lambda: last_checkpoint(finished_run) >= 1, what="the first checkpoint")
    one.send(signal.SIGINT)
    code, said = one.finish(40)
    assert code == 130
    assert "already complete" not in said
    assert "resuming from" not in said
    assert not {"model", "predictions.jsonl", "metrics.json", "report.html"} & {p.name for p in finished_run.iterdir()}
    assert len(Finished(finished_run).steps) < STEPS


@quick_for_one_family
def test_a_terminated_command_saves_first_and_resumes_to_the_same_end(reference, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    seldom = layout(save_steps=1000)
    one = command(recipe, run_dir, *seldom)
    wait_until(lambda: logged_steps(run_dir) >= 2, what="the second step")
    one.send(signal.SIGTERM)
    code, said = one.finish(40)
    assert code == 143, said
    assert said.splitlines()[-1] == "stopped; the same command resumes"
    assert "Traceback" not in said
    step = last_checkpoint(run_dir)
    assert f"checkpoint-{step} is written; the processes end as asked" in said
    assert 2 <= step < STEPS
    assert processes_of(run_dir) == []
    run = run_to_the_end(recipe, run_dir, *seldom)
    assert run.json("training.json")["resumed_from_step"] == step
    assert_same_end(run, reference)


@pytest.mark.slow
@both_families
def test_a_signal_to_one_rank_stops_all_after_the_same_step(reference, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    options = layout(save_steps=1000, num_processes=2, micro_batch_size=4)
    one = command(recipe, run_dir, *options)
    wait_until(lambda: logged_steps(run_dir) >= 2, what="the second step")
    os.kill(workers_of(run_dir)[1], signal.SIGUSR1)
    code, said = one.finish(60)
    assert code == 75, said
    step = last_checkpoint(run_dir)
    assert f"checkpoint-{step} is written; the processes end as asked" in said
    assert "error: the train stage was asked to stop (got SIGTERM or SIGUSR1); the same command resumes" in said
    assert 2 <= step < STEPS
    # And on one process: nothing but the number of processes changes.
    run = run_to_the_end(recipe, run_dir, *layout(num_processes=1))
    assert f"resuming from checkpoint-{step} on another number of processes (2 → 1)" in run.said
    assert_nearly_same_end(run, reference)


@quick_for_one_family
def test_two_processes_resume_the_training_of_one(reference, recipe, killed_run):
    step = last_checkpoint(killed_run)
    run = run_to_the_end(recipe, killed_run, *layout(num_processes=2, micro_batch_size=4))
    assert f"resuming from checkpoint-{step} on another number of processes (1 → 2)" in run.said
    assert run.json("training.json")["resumed_from_step"] == step
    assert_nearly_same_end(run, reference)


@pytest.mark.slow
@both_families
def test_a_finished_run_writes_the_same_summary_for_a_piped_dialogue(reference):
    for predicted in list(read_jsonl(reference.folder / "predictions.jsonl"))[:2]:
        done = subprocess.run(
            [*command_words(), "summarize", str(reference.folder), "--json"],
            input=predicted["dialogue"], capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout) == {"dialogue": predicted["dialogue"], "summary": predicted["prediction"]}
