import json
import os
import subprocess
import sys
import time

import pytest
from made_up_recipes import begun_plan, made_up_plan

from summtune import worker
from summtune.base.errors import DataError, InputError
from summtune.base.files import read_jsonl, write_json
from summtune.runs.events import events_file
from summtune.work.process.stopping import Stopped, StopRequest


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A run directory with a plan, and a worker that writes to the test's own output."""
    write_json(tmp_path / "plan.json", made_up_plan().to_json())
    monkeypatch.setattr(worker, "_log_to", lambda path: None)
    monkeypatch.delenv(worker.PARENT, raising=False)
    monkeypatch.delenv("RANK", raising=False)
    return tmp_path


@pytest.fixture
def stage_does(monkeypatch):
    """Let every stage do the given thing."""

    def set_to(action):
        monkeypatch.setattr(worker, "_run", lambda stage, plan, run_dir, events, stop: action(stage, run_dir))

    return set_to


def raising(error):
    def action(stage, run_dir):
        raise error

    return action


def last_event(run_dir):
    return list(read_jsonl(events_file(run_dir)))[-1]


def test_stages_run_in_order_and_are_marked_complete(run_dir, stage_does):
    ran = []

    def action(stage, folder):
        ran.append(stage)
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "train_log.jsonl").write_text("{}\n")

    stage_does(action)
    assert worker.main([str(run_dir), "train", "predict"], StopRequest()) == 0
    assert ran == ["train", "predict"]
    assert json.loads((run_dir / "stages" / "train.json").read_text())["outputs"]["train_log.jsonl"]["bytes"] == 3
    assert [event["event"] for event in read_jsonl(events_file(run_dir))] == ["started", "finished"] * 2


def test_checkpoints_go_once_the_training_is_complete(run_dir, stage_does):
    (run_dir / "checkpoints").mkdir()
    stage_does(lambda stage, folder: None)
    assert worker.main([str(run_dir), "train"], StopRequest()) == 0
    assert not (run_dir / "checkpoints").exists()


def test_a_failed_training_keeps_its_checkpoints_and_is_not_complete(run_dir, stage_does, capsys):
    (run_dir / "checkpoints").mkdir()
    stage_does(raising(DataError("no training pair is left")))
    assert worker.main([str(run_dir), "train", "predict"], StopRequest()) == 1
    assert (run_dir / "checkpoints").exists()
    assert not (run_dir / "stages").exists()
    assert "Traceback" in capsys.readouterr().err


def test_other_ranks_mark_nothing(run_dir, stage_does, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    (run_dir / "checkpoints").mkdir()
    stage_does(lambda stage, folder: None)
    assert worker.main([str(run_dir), "train"], StopRequest()) == 0
    assert not (run_dir / "stages").exists()
    assert (run_dir / "checkpoints").exists()
    assert not events_file(run_dir).exists()


@pytest.mark.parametrize(
    ("error", "text", "expected"),
    [
        (DataError("no pair is left (got 0)"), "no pair is left (got 0)", True),
        (
            OSError(28, "No space left on device", "model/x"),
            "no space is left on the disk (got model/x); free some, and run the same command again: it resumes",
            True,
        ),
        (OSError("odd"), "odd", True),
        (KeyError("labels"), "KeyError: 'labels'", False),
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line", False),
        (ValueError(), "ValueError", False),
        (
            RuntimeError("CUDA out of memory. Tried"),
            "RuntimeError: CUDA out of memory. Tried; halve micro_batch_size and double gradient_accumulation_steps, "
            "or set gradient_checkpointing",
            False,
        ),
    ],
)
def test_an_error_reaches_the_command_that_waits(run_dir, stage_does, error, text, expected):
    stage_does(raising(error))
    assert worker.main([str(run_dir), "predict"], StopRequest()) == 1
    assert last_event(run_dir) == {
        "event": "error",
        "stage": "predict",
        "rank": 0,
        "text": text,
        "expected": expected,
        "exit_code": 2 if isinstance(error, InputError) else 1,
    }


def test_a_stopped_stage_reports_it_and_is_not_complete(run_dir, stage_does):
    (run_dir / "checkpoints").mkdir()
    stage_does(raising(Stopped("checkpoint-3 is written")))
    assert worker.main([str(run_dir), "train", "predict"], StopRequest()) == 75
    assert (last_event(run_dir)["event"], last_event(run_dir)["text"]) == ("message", "checkpoint-3 is written")
    assert (run_dir / "checkpoints").exists()
    assert not (run_dir / "stages").exists()


def test_a_stop_that_comes_too_late_takes_effect_after_the_stage(run_dir, stage_does):
    stop, ran = StopRequest(), []

    def action(stage, folder):
        ran.append(stage)
        stop.hold()
        stop.asked = True

    stage_does(action)
    assert worker.main([str(run_dir), "train", "predict"], stop) == 75
    assert ran == ["train"]
    assert (run_dir / "stages" / "train.json").exists()


def test_every_rank_may_say_why_it_ends(run_dir, stage_does, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    stage_does(raising(ValueError("broken")))
    assert worker.main([str(run_dir), "predict"], StopRequest()) == 1
    assert last_event(run_dir)["rank"] == 3


def test_a_worker_runs_no_other_stages(run_dir):
    assert worker.main([str(run_dir), "evaluate"], StopRequest()) == 1
    assert last_event(run_dir)["text"] == "AssertionError: no worker runs the stage 'evaluate'"


def test_everything_a_worker_prints_is_in_its_log(run_dir):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom summtune import worker\n"
        f"worker._log_to(Path({str(run_dir / 'predict.rank0.log')!r}))\n"
        "print('from python', flush=True)\nos.write(1, b'from below\\n')\nprint('an error', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
    assert (run_dir / "predict.rank0.log").read_text() == "from python\nfrom below\nan error\n"


def test_a_worker_ends_soon_after_the_command_that_waits_for_it(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    code = (
        "import time\nfrom summtune import worker\n"
        "worker._end_with_parent()\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    environment = os.environ | {worker.PARENT: str(parent.pid)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout.readline() == "ready\n"
        assert waiting.poll() is None
        parent.kill()
        parent.wait()
        started = time.monotonic()
        assert waiting.wait(10) == 1
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("sets", "tracking", "unused"),
    [
        ([], {}, ["bitsandbytes", "mlflow", "kernels"]),
        (["adapter=qlora"], {}, ["mlflow", "kernels"]),
        (
            [],
            {"mlflow_tracking_uri": "runs"},
            ["bitsandbytes", "kernels"],
        ),  # set in the plan: MLflow may not be installed
    ],
)
def test_a_worker_leaves_out_what_its_plan_does_not_use(project, sets, tracking, unused, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: name)
    plan = begun_plan(project / "train.yaml", sets, project / "run")
    plan = plan.model_copy(update={"recipe": plan.recipe.model_copy(update=tracking)})
    assert worker.unused_packages(plan) == unused


@pytest.mark.parametrize(("sets", "used"), [([], False), (["load_in_4bit=true"], True)])
def test_a_prompted_model_of_four_bits_uses_bitsandbytes(project, sets, used, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: name)
    plan = begun_plan(project / "prompt.yaml", sets, project / "run")
    assert ("bitsandbytes" not in worker.unused_packages(plan)) == used
