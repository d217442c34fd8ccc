"""The whole way of a recipe in a directory that it deletes: a pause, a resume, and the report.

The processes that would train and predict are replaced by one that writes what they write.
"""

import json
import re

import pytest
from faked_stages import STAGES
from in_process import call

from summtune.base.errors import StageError, StageStopped
from summtune.base.files import read_jsonl, write_json, write_jsonl
from summtune.commands import pipeline, smoke
from summtune.launchers.machines import OtherMachines
from summtune.plan.plan import TrainPlan, read_plan
from summtune.runs.events import Events
from summtune.runs.run_directory import mark_complete


@pytest.fixture
def launched(project, monkeypatch):
    """Replace the workers; ``fail_in`` names a stage that fails, ``forgets`` one that does not resume."""
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    record = {"launches": [], "plans": [], "data": [], "fail_in": None, "resumed": 1}

    def train(run_dir):
        events = Events(run_dir, "train", 0)
        checkpoints = run_dir / "checkpoints"
        events.took("evaluation", 2.0)
        events.took("checkpoint", 3.0)
        if read_plan(run_dir).pause_after is not None and not checkpoints.exists():
            checkpoints.mkdir()
            raise StageStopped("the train stage was asked to stop")
        STAGES["train"](run_dir)
        rows = [
            {"step": 1, "epoch": 0.5, "samples_per_second": 4.0},
            {"step": 2, "epoch": 1.0, "samples_per_second": 8.0},
        ]
        write_jsonl(run_dir / "train_log.jsonl", [row | {"loss": 2.0} for row in rows])
        done = json.loads((run_dir / "training.json").read_text())
        write_json(
            run_dir / "training.json", done | {"resumed_from_step": record["resumed"], "peak_memory_bytes": 3 << 30}
        )

    def predict(run_dir):
        Events(run_dir, "predict", 0).took("generation", 6.0)
        STAGES["predict"](run_dir)

    def run_processes(launch, run_dir, stages, listener):
        plan = read_plan(run_dir)
        record["launches"].append((plan.name, *stages))
        record["plans"].append(plan)
        record["data"].append({path.stem: list(read_jsonl(path)) for path in (run_dir / "data").iterdir()})
        (run_dir / "logs").mkdir(exist_ok=True)
        for stage in stages:
            if record["fail_in"] == stage:
                raise StageError(f"the {stage} stage failed: as planned", str(run_dir / "logs" / "launcher.log"))
            {"train": train, "predict": predict}[stage](run_dir)
            mark_complete(run_dir, stage)

    monkeypatch.setattr(pipeline, "run_processes", run_processes)
    return record


def test_a_training_pauses_resumes_and_leaves_nothing(project, launched, everything_in):
    before = everything_in(project)
    done = call("run", "train.yaml", "--smoke", "--set", "val_set_size=2", "--set", "micro_batch_size=2")
    assert done.code == 0, done.stderr
    assert launched["launches"] == [("train", "train", "predict")] * 2
    first, second = launched["plans"]
    assert isinstance(first, TrainPlan)
    assert (first.pause_after, first.batch.optimizer_steps, first.batch.global_batch) == (1, 2, 2)
    assert first == second
    assert {role: len(rows) for role, rows in launched["data"][0].items()} == {"train": 4, "validation": 2, "test": 6}
    assert everything_in(project) == before
    assert done.stdout == "", "as without --smoke, what is printed is for a person"
    assert "paused after step 1, as planned" in done.stderr
    assert "already complete" not in done.stderr


def test_the_result_names_memory_seconds_a_step_and_the_arithmetic(project, launched):
    done = call("run", "train.yaml", "--smoke", "--set", "val_set_size=2", "--set", "micro_batch_size=2")
    shown = re.sub(r" +", " ", done.stderr)
    assert ": 2 steps of 2 pairs, a checkpoint after step 1, a resume from it, 2 evaluations of 2 pairs, 6 sum" in shown
    assert "training 3.0 GiB in the first process, with Python and its libraries; estimate " in shown
    assert " for prompts of 512 tokens, without these; generation no more" in shown
    assert "0.25 s, the faster of 0.5 s and 0.25 s" in shown
    # Ten pairs are trained on for three epochs.
    assert "15 steps × 0.25 s 3.8 s" in shown
    assert "3 evaluations × 2 pairs × 1 s 6.0 s" in shown
    assert "3 checkpoints × 3 s 9.0 s" in shown
    assert "6 dialogues × 1 s 6.0 s" in shown
    assert "start-up (here of each training twice), scores, report" in shown


def test_a_prompted_model_has_no_pause(project, launched, everything_in):
    before = everything_in(project)
    done = call("run", "prompt.yaml", "--smoke")
    assert done.code == 0, done.stderr
    assert launched["launches"] == [("prompt", "predict")]
    assert "generation " in done.stderr
    assert "paused" not in done.stderr
    assert everything_in(project) == before


def test_each_system_of_a_comparison_takes_its_way_and_they_are_compared(project, launched, everything_in):
    before = everything_in(project)
    done = call("run", "both.yaml", "--smoke")
    assert done.code == 0, done.stderr
    assert launched["launches"] == [("prompt", "predict"), ("train", "train", "predict"), ("train", "train", "predict")]
    assert "compare  2 systems" in done.stderr
    assert done.stderr.count("system 1 of 2") == 1
    assert re.search(r"system  prompt: .*system  train: .*whole run  at most", done.stderr, re.DOTALL)
    assert everything_in(project) == before


def test_outputs_are_compared_on_the_dialogues_of_the_smoke_run(project, launched, everything_in):
    (project / "theirs.txt").write_text("".join(f"Output {n}.\n" for n in range(6)))
    (project / "both.yaml").write_text("kind: compare\nrecipes: [{predictions: theirs.txt}, train.yaml]\n")
    before = everything_in(project)
    done = call("run", "both.yaml", "--smoke", "--set", "generation.batch_size=2")
    assert done.code == 0, done.stderr
    assert launched["launches"] == [("train", "train", "predict")] * 2
    assert "6 predictions matched with the dialogues" in done.stderr, "the whole file is checked"
    assert ": 2 systems and their comparison" in done.stderr
    assert re.search(r"system  train: .* 2 summaries", done.stderr)
    assert everything_in(project) == before
    (project / "theirs.txt").write_text("One.\n")
    assert call("run", "both.yaml", "--smoke").code == 2


def test_systems_that_share_a_training_are_all_measured(project, launched):
    beams = "{recipe: train.yaml, name: beams, overrides: {generation.num_beams: 2}}"
    (project / "both.yaml").write_text(f"kind: compare\nrecipes: [train.yaml, {beams}]\n")
    done = call("run", "both.yaml", "--smoke")
    assert done.code == 0, done.stderr
    assert launched["launches"] == [("train", "train", "predict")] * 4
    assert "reused" not in done.stderr


def test_a_failure_keeps_the_directory_and_names_it(project, launched):
    launched["fail_in"] = "predict"
    done = call("run", "train.yaml", "--smoke")
    assert done.code == 1
    (kept,) = (project / "outputs" / "smoke").iterdir()
    assert f"not finished; {kept} is kept until the same command starts over" in done.stderr
    assert "error: the predict stage failed: as planned" in done.stderr
    assert (kept / "run" / "plan.json").is_file()
    launched["fail_in"] = None
    assert call("run", "train.yaml", "--smoke").code == 0
    assert launched["launches"][-2:] == [("train", "train", "predict")] * 2, "it started over"
    assert list((project / "outputs").iterdir()) == []


def test_data_that_cannot_be_used_leaves_nothing(project, launched, everything_in):
    (project / "test.jsonl").write_text('{"dialogue": "A: Hi.", "summary": ""}\n')
    before = everything_in(project)
    assert call("run", "train.yaml", "--smoke").code == 2
    assert launched["launches"] == []
    assert everything_in(project) == before


def test_a_training_that_does_not_resume_is_a_failure(project, launched):
    launched["resumed"] = None
    done = call("run", "train.yaml", "--smoke")
    assert done.code == 1
    assert "the training did not resume from its checkpoint after step 1 (got None); see the log" in done.stderr
    assert (project / "outputs" / "smoke").is_dir()


def test_the_whole_run_is_not_touched_and_does_not_know_of_it(project, launched, everything_in):
    run_dir = project / "outputs" / "mine"
    launched["fail_in"] = "predict"
    call("run", "prompt.yaml", "--output-dir", run_dir)
    before = everything_in(run_dir)
    launched["fail_in"] = None
    assert call("run", "prompt.yaml", "--smoke", "--output-dir", run_dir).code == 0
    assert launched["plans"][-1].identity != launched["plans"][0].identity
    assert everything_in(run_dir) == before
    assert call("run", "prompt.yaml", "--output-dir", run_dir).code == 0
    assert [path.name for path in (project / "outputs").iterdir()] == ["mine"]


def test_nothing_is_reused_from_whole_runs(project, launched):
    # Six test dialogues are fewer than a batch, so the smoke run summarizes what the whole run has summarized.
    assert call("run", "both.yaml").code == 0
    launched["launches"].clear()
    for recipe in ("prompt.yaml", "both.yaml"):
        done = call("run", recipe, "--smoke")
        assert done.code == 0, done.stderr
        assert "reused from" not in done.stderr
    assert launched["launches"] == [("prompt", "predict")] * 2 + [("train", "train", "predict")] * 2


def test_systems_with_the_same_training_each_take_their_way(project, launched):
    entries = [
        {"recipe": "train.yaml", "name": f"{beams}", "overrides": {"generation.num_beams": beams}} for beams in (1, 2)
    ]
    (project / "both.yaml").write_text(json.dumps({"kind": "compare", "recipes": entries}))
    done = call("run", "both.yaml", "--smoke")
    assert done.code == 0, done.stderr
    assert launched["launches"] == [("train", "train", "predict")] * 4
    assert done.stderr.count("steps × ") == 2


def test_one_smoke_run_at_a_time(project, launched):
    folder = smoke.smoke_folder(smoke.drafted(smoke.check(project / "train.yaml")))
    with smoke.locked(folder):
        done = call("run", "train.yaml", "--smoke")
        assert (folder / ".lock").is_file()
    assert done.code == 2
    assert f"another summtune command is using this directory (got {folder})" in done.stderr


def test_folders_that_were_there_before_are_kept(project, launched):
    (project / "mine").mkdir()
    assert call("run", "prompt.yaml", "--smoke", "--output-dir", "mine/run").code == 0
    assert call("run", "prompt.yaml", "--smoke", "--output-dir", "other/folder/run").code == 0
    assert list((project / "mine").iterdir()) == []
    assert not (project / "other").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--dry-run", r"--smoke starts processes, and --dry-run starts none \(got both\); leave out one"),
        ("--detach", r"--smoke waits for the end, .* \(got --detach\); remove it"),
        ("--fresh", r"--smoke always starts from scratch \(got --fresh, which has no effect\); remove it"),
    ],
)
def test_options_that_contradict_it_are_refused(project, launched, option, said):
    done = call("run", "train.yaml", "--smoke", option)
    assert done.code == 2
    assert re.search(said, done.stderr)
    assert not (project / "outputs").exists()


ON_TWO = ("--set", "num_machines=2", "--set", "num_processes=2")


def test_the_first_machine_connects_to_the_others_for_each_round(project, launched, monkeypatch):
    rounds = []

    def run_everywhere(self, launch, run_dir, stages, listener):
        rounds.append((self.count, self.identity))
        pipeline.run_processes(launch, run_dir, stages, listener)

    monkeypatch.setattr(OtherMachines, "run_everywhere", run_everywhere)
    for key, value in {"MACHINE_RANK": "0", "MASTER_ADDR": "first"}.items():
        monkeypatch.setenv(key, value)
    done = call("run", "train.yaml", "--smoke", *ON_TWO)
    assert done.code == 0, done.stderr
    assert len(rounds) == 2
    assert len(set(rounds)) == 1
    assert rounds[0][1] != smoke.drafted(smoke.check(project / "train.yaml", ON_TWO[1::2])).identity


def test_another_machine_joins_again_after_the_pause(project, launched, monkeypatch):
    joined = []

    def join(machine, identity, listener, complete):
        joined.append((machine.rank, identity, complete()))
        if len(joined) == 1:
            raise StageStopped("the train stage was asked to stop")

    monkeypatch.setattr(smoke, "join", join)
    for key, value in {"MACHINE_RANK": "1", "MASTER_ADDR": "first"}.items():
        monkeypatch.setenv(key, value)
    done = call("run", "train.yaml", "--smoke", *ON_TWO)
    assert done.code == 0, done.stderr
    assert "machine 1 has finished" in done.stderr
    assert [(rank, complete) for rank, _, complete in joined] == [(1, False)] * 2
    assert joined[0] == joined[1]
    assert not (project / "outputs").exists()


def test_the_command_for_each_machine_has_the_option(project, monkeypatch):
    monkeypatch.delenv("MACHINE_RANK", raising=False)
    done = call("run", "train.yaml", "--smoke", *ON_TWO)
    assert done.code == 2
    assert done.stderr.count("summtune run train.yaml --set num_machines=2 --set num_processes=2 --smoke") == 2
