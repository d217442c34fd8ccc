"""Stages that another run has completed are reused; what is damaged, unfinished or of something else is not.

The processes that would train and predict are replaced by one that writes what they write.
"""

import errno
import os
import shutil
from pathlib import Path

import pytest
from faked_stages import STAGES, RecordingDisplay, write_training

from summtune.base.errors import StageError
from summtune.base.files import read_json, write_json
from summtune.commands import pipeline
from summtune.commands.compare import run_comparison
from summtune.commands.reuse import reusable
from summtune.commands.run import show_plan
from summtune.plan.plan import read_plan
from summtune.plan.resolve import resolve
from summtune.runs import reuse
from summtune.runs.finished import read_facts
from summtune.runs.run_directory import is_complete, mark_complete, read_mark


@pytest.fixture
def display():
    return RecordingDisplay()


@pytest.fixture
def launched(monkeypatch):
    """Replace the workers; the record holds the stages of each launch, and which stage fails."""
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    record = {"stages": [], "fail_in": None}

    def run_processes(launch, run_dir, stages, listener):
        record["stages"].append(tuple(stages))
        (run_dir / "logs").mkdir(exist_ok=True)
        for stage in stages:
            if record["fail_in"] == stage:
                raise StageError(f"the {stage} stage failed: as planned", "log")
            STAGES[stage](run_dir)
            mark_complete(run_dir, stage)

    monkeypatch.setattr(pipeline, "run_processes", run_processes)
    return record


@pytest.fixture(autouse=True)
def quick_scores(monkeypatch, request):
    """Replace the evaluation and the report, except in tests that ask for the fixtures of these names."""

    def evaluate(plan, run_dir):
        for name in ("metrics.json", "per_example.jsonl"):
            (run_dir / name).write_text("{}")

    def report(plan, run_dir):
        (run_dir / "model").mkdir(exist_ok=True)
        (run_dir / "model" / "README.md").write_text(plan.name)
        (run_dir / "report.html").write_text((run_dir / "recipe.yaml").read_text())

    if "reports" not in request.fixturenames:
        monkeypatch.setattr(pipeline, "_report", report)
        monkeypatch.setattr("summtune.report.write_compare_report", lambda folder: folder)
        if "scores" not in request.fixturenames:
            monkeypatch.setattr(pipeline, "_evaluate", evaluate)


@pytest.fixture
def scores():
    """Scores are real."""


@pytest.fixture
def reports():
    """Scores and reports are real."""


def run(display, *sets, into=None, name="train.yaml", fresh=False):
    """Run a recipe of the current folder and return its run directory."""
    display.stages.clear()
    return pipeline.run(resolve(Path(name).absolute(), sets, into), display, fresh)


def said_of(display, stage):
    return [text for name, text in display.stages if name == stage]


BEAMS = "generation.num_beams=2"
NO_STEMMER = "evaluation.use_stemmer=false"


def test_other_generation_settings_generate_again_with_the_trained_model(project, launched, display):
    first = run(display)
    second = run(display, BEAMS)
    assert launched["stages"] == [("train", "predict"), ("predict",)]
    assert said_of(display, "train") == [f"reused from outputs/{first.name}"]
    model = "model/model.safetensors"
    assert (second / model).samefile(first / model)
    assert is_complete(second, "train")
    assert read_plan(second).reused["train"].run_dir == str(first)
    assert set(read_plan(second).reused) == {"train"}
    assert read_plan(first).reused == {}


def test_other_test_dialogues_generate_again_with_the_trained_model(project, launched, display, write_rows):
    run(display)
    write_rows(project / "more.jsonl", 3)
    run(display, "test_datasets=[{path: more.jsonl}]")
    assert launched["stages"] == [("train", "predict"), ("predict",)]


@pytest.mark.parametrize("name", ["train.yaml", "prompt.yaml"])
def test_another_protocol_scores_again_and_starts_no_worker(project, launched, display, name):
    first = run(display, name=name)
    before = list(launched["stages"])
    second = run(display, NO_STEMMER, name=name)
    assert launched["stages"] == before
    assert said_of(display, "predict") == [f"reused from outputs/{first.name}"]
    assert [stage for stage, text in display.stages if text == "running"] == ["evaluate", "report"]
    assert (second / "predictions.jsonl").samefile(first / "predictions.jsonl")


@pytest.mark.parametrize(
    "setting", ["seed=7", "learning_rate=2e-3", "prompt_template=plain", "sequence_len=256", "micro_batch_size=4"]
)
def test_what_touches_training_trains_again(project, launched, display, setting):
    run(display)
    run(display, setting)
    assert launched["stages"] == [("train", "predict")] * 2


def test_another_layout_of_the_training_is_the_same_training(project, launched, display):
    run(display)
    run(display, BEAMS, "num_processes=2", "micro_batch_size=4")
    assert launched["stages"] == [("train", "predict"), ("predict",)]


def test_a_changed_report_is_reported_again_and_nothing_else_runs(project, launched, display):
    run_dir = run(display)
    (project / "train.yaml").write_text((project / "train.yaml").read_text() + "# a remark\n")
    assert run(display) == run_dir
    assert [stage for stage, text in display.stages if text == "running"] == ["report"]
    assert "a remark" in (run_dir / "report.html").read_text()
    run(display)
    assert [stage for stage, text in display.stages if text == "running"] == []


def test_fresh_reuses_nothing_then_and_when_it_resumes(project, launched, display):
    run(display)
    launched["fail_in"] = "train"
    with pytest.raises(StageError):
        run(display, BEAMS, fresh=True)
    launched["fail_in"] = None
    run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 3
    run_dir = run(display, BEAMS, fresh=True)
    assert launched["stages"] == [("train", "predict")] * 4
    assert read_plan(run_dir).reused == {}


def test_what_is_reused_survives_the_deletion_of_its_source(project, launched, display):
    first = run(display)
    second = run(display, BEAMS)
    shutil.rmtree(first)
    assert (second / "model" / "model.safetensors").read_bytes() == b"x"
    third = run(display, "generation.num_beams=3")
    assert launched["stages"] == [("train", "predict"), ("predict",), ("predict",)]
    assert said_of(display, "train") == [f"reused from outputs/{second.name}"]
    assert read_plan(third).reused["train"].run_dir == str(first), "the run that trained"


def spoil(path):
    content = path.read_bytes()
    path.unlink()  # a hard link of another run stays as it is
    path.write_bytes(b"y" * len(content))


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda run_dir: spoil(run_dir / "model" / "model.safetensors"), "model/model.safetensors was altered"),
        (lambda run_dir: (run_dir / "training.json").unlink(), "training.json is missing"),
        (lambda run_dir: (run_dir / "train_log.jsonl").write_text(""), "train_log.jsonl has 0 bytes instead of"),
    ],
)
def test_damaged_outputs_are_reported_and_not_reused(project, launched, display, harm, what):
    first = run(display)
    harm(first)
    second = run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2
    (warning,) = display.warnings
    assert warning.startswith(f"the train stage of outputs/{first.name} is damaged (got {what}")
    assert read_mark(second, "train").made_by is None
    assert not list(second.glob(".reused"))


def test_an_intact_run_is_reused_where_another_one_is_damaged(project, launched, display):
    first, second = run(display), run(display, BEAMS, fresh=True)
    spoil(second / "model" / "model.safetensors")
    write_json(second / "stages" / "train.json", read_json(second / "stages" / "train.json") | {"finished_at": "9"})
    run(display, "generation.num_beams=3")
    assert len(display.warnings) == 1
    assert said_of(display, "train") == [f"reused from outputs/{first.name}"]


def test_a_run_that_is_still_training_is_not_reused(project, launched, display, monkeypatch):
    def train(run_dir):
        write_training(run_dir)
        if len(launched["stages"]) == 1:  # while this one trains, the other one starts
            run(display, BEAMS)

    monkeypatch.setitem(STAGES, "train", train)
    run(display)
    assert launched["stages"] == [("train", "predict")] * 2


def test_predictions_of_another_training_of_the_same_model_are_not_reused(project, launched, display, monkeypatch):
    def train(run_dir):
        write_training(run_dir)
        (run_dir / "model" / "model.safetensors").write_bytes(b"%d" % len(launched["stages"]))

    monkeypatch.setitem(STAGES, "train", train)
    run(display)
    second = run(display, BEAMS, fresh=True)
    spoil(second / "predictions.jsonl")
    third = run(display, BEAMS, NO_STEMMER)
    assert launched["stages"][2:] == [("predict",)], "the predictions that go with this model are damaged"
    assert (third / "model" / "model.safetensors").samefile(second / "model" / "model.safetensors")


def test_data_that_has_changed_under_its_name_is_not_reused(project, launched, display):
    first = run(display)
    plan = read_json(first / "plan.json")
    plan["data"]["train"]["sha256"] = "0" * 64
    write_json(first / "plan.json", plan)
    run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2
    changed = f"not reused from outputs/{first.name}: the model, the data or the date in its prompts is another"
    assert said_of(display, "train")[0] == changed


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_files_are_copied_where_they_cannot_be_linked(project, launched, display, monkeypatch, number):
    first = run(display)

    def link(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    second = run(display, BEAMS)
    assert launched["stages"] == [("train", "predict"), ("predict",)]
    one, other = (folder / "model" / "model.safetensors" for folder in (first, second))
    assert not one.samefile(other)
    assert one.read_bytes() == other.read_bytes()


def test_a_full_disk_while_copying_is_reported_and_the_run_trains(project, launched, display, monkeypatch):
    run(display)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(shutil, "copyfile", fail)
    second = run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2
    assert "cannot be reused (got No space left on device)" in display.warnings[0]
    assert not (second / ".reused").exists()


def test_a_source_that_is_deleted_meanwhile_is_not_reused(project, launched, display, monkeypatch):
    first = run(display)
    link = os.link

    def link_and_delete(*arguments):
        link(*arguments)
        shutil.rmtree(first, ignore_errors=True)

    monkeypatch.setattr(os, "link", link_and_delete)
    second = run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2
    assert " is missing)" in display.warnings[0]
    assert read_mark(second, "train").made_by is None


class Killed(BaseException):
    """What ends a process at once."""


@pytest.mark.parametrize("moment", range(6))
def test_a_reuse_that_is_killed_anywhere_is_done_by_the_next_start(project, launched, display, monkeypatch, moment):
    first = run(display)
    steps = []

    def killing(function):
        def step(*arguments, **options):
            steps.append(function)
            if len(steps) == moment + 1:
                raise Killed
            return function(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killing(os.link))
        patch.setattr(reuse.manifest, "damage", killing(reuse.manifest.damage))
        patch.setattr(reuse, "sync", killing(reuse.sync))
        patch.setattr(reuse, "write_mark", killing(reuse.write_mark))
        patch.setattr(reuse, "discard_staged", lambda run_dir: None)
        with pytest.raises(Killed):
            run(display, BEAMS)
    second = run(display, BEAMS)
    assert launched["stages"] == [("train", "predict"), ("predict",)]
    assert {path.name for path in (second / "model").iterdir()} == {"model.safetensors", "README.md"}
    assert not (second / ".reused").exists()
    assert read_plan(second).reused["train"].run_dir == str(first)
    assert (second / "metrics.json").is_file()


def test_an_unfinished_training_is_given_up_for_a_finished_one(project, launched, display):
    launched["fail_in"] = "train"
    with pytest.raises(StageError):
        run(display)
    launched["fail_in"] = None
    run_dir = resolve(project / "train.yaml").run_dir
    (run_dir / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    other = run(display, BEAMS)
    run(display)
    assert said_of(display, "train") == [f"reused from outputs/{other.name}"]
    assert not (run_dir / "checkpoints").exists()


def compare(project, display, *sets, into=None, fresh=False):
    display.stages.clear()
    return run_comparison(resolve(project / "both.yaml", sets, into), display, fresh)


def test_a_comparison_reuses_what_its_systems_share_with_earlier_ones(project, launched, display, scores):
    first = compare(project, display)
    assert launched["stages"] == [("predict",), ("train", "predict")]
    second = compare(project, display, f"overrides={{{BEAMS.replace('=', ': ')}}}")
    assert launched["stages"][2:] == [("predict",), ("predict",)]
    compare(project, display, f"overrides={{{NO_STEMMER.replace('=', ': ')}}}")
    assert len(launched["stages"]) == 4
    assert first != second


def test_the_systems_below_a_directory_reuse_plain_runs_and_other_comparisons(project, launched, display, scores):
    run(display)
    compare(project, display, into=project / "one")
    assert launched["stages"] == [("train", "predict"), ("predict",)]
    compare(project, display, into=project / "two")
    assert len(launched["stages"]) == 2


def test_a_plain_run_elsewhere_does_not_look_into_outputs(project, launched, display):
    run(display)
    run(display, into=project / "elsewhere" / "run")
    assert launched["stages"] == [("train", "predict")] * 2


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 2, "keys": 7}'])
def test_a_damaged_plan_of_another_run_is_passed_over(project, launched, display, content):
    first = run(display)
    (first / "plan.json").write_text(content)
    run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2
    assert display.warnings == []


@pytest.mark.parametrize("name", ["../../train.jsonl", "model/../../x", "plan.json", "/etc/hostname", "."])
def test_a_mark_that_names_other_files_is_not_followed(project, launched, display, name):
    first = run(display)
    mark = read_json(first / "stages" / "train.json")
    mark["outputs"][name] = next(iter(mark["outputs"].values()))
    write_json(first / "stages" / "train.json", mark)
    run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2


def test_links_in_another_run_are_not_followed(project, launched, display):
    first = run(display)
    model = first / "model" / "model.safetensors"
    model.rename(project / "elsewhere.safetensors")
    model.symlink_to(project / "elsewhere.safetensors")
    run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2


def test_runs_of_other_users_are_not_reused(project, launched, display, monkeypatch):
    run(display)
    monkeypatch.setattr(reuse, "owner_of", lambda folder: folder.name)
    assert reusable(resolve(project / "train.yaml", [BEAMS])) == {}
    run(display, BEAMS)
    assert launched["stages"] == [("train", "predict")] * 2


def test_a_dry_run_says_what_would_be_reused(project, launched, display, capsys):
    first = run(display)

    def shown(*sets, fresh=False):
        show_plan(project / "train.yaml", sets, None, fresh)
        return [
            " ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip().startswith("reuse ")
        ]

    assert shown(BEAMS) == [f"reuse train from outputs/{first.name}"]
    both = [f"reuse {stage} from outputs/{first.name}" for stage in ("train", "predict")]
    assert shown(NO_STEMMER) == both
    assert shown(NO_STEMMER, fresh=True) == []
    assert shown() == []
    assert shown("seed=7") == []
    (first / "train_log.jsonl").unlink()
    assert shown(BEAMS) == []


def test_a_dry_run_of_a_fresh_run_reuses_nothing(project, launched, display):
    run(display)
    launched["fail_in"] = "train"
    with pytest.raises(StageError):
        run(display, BEAMS, fresh=True)
    assert reusable(resolve(project / "train.yaml", [BEAMS])) == {}


def test_no_other_batch_is_missed_where_the_training_is_reused(project, launched, display):
    run(display, "micro_batch_size=4")
    launched["fail_in"] = "train"
    with pytest.raises(StageError):
        run(display)
    (resolve(project / "train.yaml").run_dir / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    launched["fail_in"] = None
    run(display, "micro_batch_size=4", BEAMS)
    assert display.warnings == []


def test_the_report_names_the_run_that_trained_and_keeps_its_cost(project, launched, display, reports):
    first = run(display)
    plan = read_json(first / "plan.json")
    write_json(first / "plan.json", plan | {"versions": plan["versions"] | {"torch": "1.0"}})
    second = run(display, NO_STEMMER)
    for name in ("report.md", "report.html"):
        text = (second / name).read_text()
        assert f"outputs/{first.name}, with torch 1.0" in text
        assert "Trained by" in text
        assert "Generated by" in text
        assert "global batch 8" in text
        assert "micro batch size" not in text, "not that of the run that trained"
    assert "Trained by" not in (first / "report.md").read_text()
    made_by = f"outputs/{first.name}"
    reused = {"training_made_by": made_by, "generation_made_by": made_by}
    assert read_facts(second).cost == read_facts(first).cost.model_copy(update=reused)
    assert read_json(second / "metrics.json")["protocol"]["stemmer"] is False
