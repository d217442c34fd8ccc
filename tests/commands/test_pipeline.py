"""Stages run in order, complete ones do not run again, and comparisons find the runs of their systems.

The processes that would train and predict are replaced by one that writes what they write.
"""

import errno
import json

import pytest
from faked_stages import STAGES, RecordingDisplay, write_training

from summtune.base.errors import DataError, ModelError, RunDirectoryError, StageError
from summtune.base.files import read_json, write_json
from summtune.commands import pipeline
from summtune.commands.compare import run_comparison
from summtune.data.hub_access import FetchedModel
from summtune.plan.plan import read_plan
from summtune.plan.resolve import resolve
from summtune.runs.run_directory import locked, mark_complete


@pytest.fixture
def display():
    return RecordingDisplay()


@pytest.fixture
def launched(monkeypatch):
    """Replace the workers; ``fail_in`` names a stage that fails."""
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    record = {"launches": [], "fail_in": None}

    def run_processes(launch, run_dir, stages, listener):
        record["launches"].append((run_dir.name.rsplit("-", 1)[0], *stages))
        (run_dir / "logs").mkdir(exist_ok=True)
        for stage in stages:
            if record["fail_in"] == (run_dir.name.rsplit("-", 1)[0], stage):
                raise StageError(f"the {stage} stage failed: as planned", "log")
            STAGES[stage](run_dir)
            mark_complete(run_dir, stage)

    monkeypatch.setattr(pipeline, "run_processes", run_processes)
    return record


def run(project, display, *sets, fresh=False, into="run"):
    return pipeline.run(resolve(project / "train.yaml", sets, project / into), display, fresh)


def test_a_run_completes_its_stages_and_leaves_their_files(project, launched, display):
    run_dir = run(project, display)
    assert launched["launches"] == [("run", "train", "predict")]
    assert [name for name, _ in display.stages] == ["data", "train", "evaluate", "report"]
    for name in ("plan.json", "recipe.yaml", "accelerate.yaml", "metrics.json", "report.html", "model/README.md"):
        assert (run_dir / name).is_file(), name
    assert not (run_dir / ".preparing").exists()
    plan = read_plan(run_dir)
    assert (plan.batch.pairs, plan.batch.optimizer_steps) == (12, 6)
    assert plan.data.test.dialogues == 6
    assert (run_dir / "recipe.yaml").read_bytes() == (project / "train.yaml").read_bytes()


def test_findings_of_preparation_and_training_are_in_the_metrics(project, launched, display, monkeypatch):
    def train(run_dir):
        write_training(run_dir)
        facts = json.loads((run_dir / "training.json").read_text())
        write_json(run_dir / "training.json", facts | {"unchanged_tensors": 3, "compared_tensors": 3})

    monkeypatch.setitem(STAGES, "train", train)
    (project / "test.jsonl").write_bytes((project / "train.jsonl").read_bytes())
    metrics = json.loads((run(project, display) / "metrics.json").read_text())
    checks = metrics["diagnostics"]["checks"]
    assert checks["leakage_train"]["count"] == checks["leakage_train"]["of"] == 12
    assert checks["weights_unchanged"]["count"] == 3
    assert any("12 of 12 test dialogues are also in the training data" in text for text in display.warnings)
    assert any(text.startswith("The model equals its base") for text in metrics["diagnostics"]["warnings"])


def test_a_hub_model_is_checked_against_the_recipe_once_it_is_downloaded(project, launched, display, monkeypatch):
    (project / "model" / "config.json").write_text(json.dumps({"model_type": "bart", "max_position_embeddings": 128}))
    monkeypatch.setattr(pipeline, "fetch_model", lambda *_: FetchedModel(project / "model", "0" * 40))
    with pytest.raises(ModelError, match=r"sequence_len exceeds the model's positions \(got 512; ") as caught:
        run(project, display, "base_model=acme/bart", "target_len=200", "generation.max_new_tokens=128")
    assert "target_len exceeds the model's positions (got 200; " in str(caught.value)
    assert not launched["launches"]
    assert not (project / "run").exists()


def test_complete_stages_are_not_run_again(project, launched, display):
    run(project, display)
    display.stages.clear()
    run(project, display)
    assert display.stages == [(name, "already complete") for name in ("train", "predict", "evaluate", "report")]
    assert len(launched["launches"]) == 1


def test_a_run_resumes_at_the_stage_that_failed(project, launched, display):
    launched["fail_in"] = ("run", "predict")
    with pytest.raises(StageError, match="the predict stage failed"):
        run(project, display)
    launched["fail_in"] = None
    run(project, display)
    assert launched["launches"] == [("run", "train", "predict"), ("run", "predict")]


def test_a_missing_file_reruns_its_stage_and_all_later_ones(project, launched, display):
    run_dir = run(project, display)
    (run_dir / "predictions.jsonl").unlink()
    display.stages.clear()
    run(project, display)
    assert [name for name, text in display.stages if text != "already complete"] == ["predict", "evaluate", "report"]


def test_fresh_starts_from_scratch(project, launched, display):
    run_dir = run(project, display)
    (run_dir / "model" / "extra").write_text("of the first run")
    run(project, display, fresh=True)
    assert not (run_dir / "model" / "extra").exists()
    assert len(launched["launches"]) == 2


def test_another_layout_resumes_the_same_run_with_its_own_launch(project, launched, display):
    launched["fail_in"] = ("run", "predict")
    with pytest.raises(StageError):
        run(project, display)
    launched["fail_in"] = None
    run_dir = run(project, display, "micro_batch_size=2", "num_processes=2", "gradient_accumulation_steps=2")
    assert "num_processes: 2" in (run_dir / "accelerate.yaml").read_text()
    assert read_plan(run_dir).batch.processes == 2


def test_costs_by_hand_are_those_of_cost_json_and_follow_the_price(project, launched, display):
    run_dir = run(project, display)
    unpriced = read_json(run_dir / "cost.json")
    assert (unpriced["money"], unpriced["currency"]) == (None, None)
    run(project, display, "price={device_hour: 3, currency: EUR}")
    assert display.stages[-1] == ("report", "running")
    assert len(launched["launches"]) == 1
    found = read_json(run_dir / "cost.json")
    # As the faked stages report: 725 s of training on one device, 1 s on one for 6 dialogues of 9 and 4 tokens.
    training, generation = 725 / 3600 * 3, 1 / 3600 * 3
    assert (found["training_device_hours"], found["generation_device_hours"]) == (725 / 3600, 1 / 3600)
    assert found["training_money"] == pytest.approx(training)
    assert found["generation_money"] == pytest.approx(generation)
    assert found["money"] == pytest.approx(training + generation)
    assert found["money_per_1000_dialogues"] == pytest.approx(generation / 6 * 1000)
    assert (found["prompt_tokens"], found["generated_tokens"], found["currency"]) == (54, 24, "EUR")
    assert (found["device"], found["dialogues"]) == ("cpu", 6)


def test_a_reused_training_has_the_cost_of_the_run_that_trained(project, launched, display):
    first = run(project, display)
    other = run(project, display, "generation.num_beams=2", "price={device_hour: 3}", into="other")
    assert launched["launches"] == [("run", "train", "predict"), ("other", "predict")]
    found = read_json(other / "cost.json")
    assert found["training_money"] == pytest.approx(725 / 3600 * 3)
    assert (found["training_made_by"], found["generation_made_by"]) == (f"{first.parent.name}/run", None)
    assert (read_json(first / "cost.json")["training_made_by"]) is None


def test_a_missing_cost_json_is_written_again_with_the_report(project, launched, display):
    run_dir = run(project, display)
    before = (run_dir / "cost.json").read_bytes()
    (run_dir / "cost.json").unlink()
    display.stages.clear()
    run(project, display)
    assert [name for name, text in display.stages if text != "already complete"] == ["report"]
    assert (run_dir / "cost.json").read_bytes() == before


def test_the_deepspeed_config_is_written_next_to_the_plan(project, launched, display):
    run_dir = run(project, display, "deepspeed=ds_configs/zero2.json")
    assert read_json(run_dir / "ds_config.json")["zero_optimization"]["stage"] == 2
    assert "distributed_type: DEEPSPEED" in (run_dir / "accelerate.yaml").read_text()
    assert launched["launches"] == [("run", "train"), ("run", "predict")]


def test_another_recipe_is_refused_and_changes_nothing(project, launched, display, everything_in):
    run_dir = run(project, display)
    before = everything_in(run_dir)
    with pytest.raises(RunDirectoryError, match="contains another run"):
        run(project, display, "seed=7")
    with pytest.raises(RunDirectoryError, match="contains another run"):
        run(project, display, "seed=7", fresh=True)
    assert everything_in(run_dir) == before


def compare(project, display, fresh=False):
    return run_comparison(resolve(project / "both.yaml", output_dir=project / "out"), display, fresh)


def test_a_comparison_runs_its_systems_and_compares_them(project, launched, display):
    run_dir = compare(project, display)
    assert launched["launches"] == [("prompt", "predict"), ("train", "train", "predict")]
    assert {path.name.split("-")[0] for path in (run_dir / "systems").iterdir()} == {"prompt", "train"}
    names = [system["name"] for system in read_json(run_dir / "comparison.json")["systems"]]
    assert names == ["prompt", "train"]
    assert (run_dir / "report.html").is_file()


def test_a_comparison_reports_which_system_begins(project, launched, display):
    run_dir = compare(project, display)
    assert display.done == [(0, 2), (1, 2), (2, 2)]
    begun = [(name, text.split(",")[0]) for name, text in display.stages if text.startswith("system ")]
    assert begun == [("prompt", "system 1 of 2"), ("train", "system 2 of 2")]
    assert all(str(run_dir / "systems") in text for _, text in display.stages if text.startswith("system "))


def test_only_downloads_from_the_hub_write_to_the_terminal_themselves(project, launched, display, monkeypatch):
    run(project, display)
    assert display.show_themselves == []

    def fetch(source, split, into, columns):
        raise DataError(f"not today (got {source.path})")

    monkeypatch.setattr("summtune.data.reading.fetch_dataset", fetch)
    with pytest.raises(DataError, match=r"not today \(got someone/talks\)"):
        run(project, display, "datasets=[{path: someone/talks}]", into="other")
    assert display.show_themselves == ["data"]


def test_an_interrupted_comparison_resumes(project, launched, display):
    launched["fail_in"] = ("train", "train")
    with pytest.raises(StageError):
        compare(project, display)
    launched["fail_in"] = None
    run_dir = compare(project, display)
    assert launched["launches"] == [
        ("prompt", "predict"), ("train", "train", "predict"), ("train", "train", "predict"),
    ]  # fmt: skip
    assert (run_dir / "comparison.json").is_file()


def test_a_fresh_comparison_does_not_delete_a_system_that_is_in_use(project, launched, display, everything_in):
    run_dir = compare(project, display)
    (system,) = (run_dir / "systems").glob("train-*")
    before = everything_in(system)
    with locked(system), pytest.raises(RunDirectoryError, match=f"using this directory .got {system}"):
        compare(project, display, fresh=True)
    assert everything_in(system) == before


def test_an_unfinished_training_with_another_global_batch_is_a_warning(project, launched, display):
    launched["fail_in"] = ("train", "train")

    def begin(*sets):
        resolved = resolve(project / "train.yaml", sets)
        with pytest.raises(StageError):
            pipeline.run(resolved, display)
        (resolved.run_dir / "checkpoints" / "checkpoint-1").mkdir(parents=True)

    begin()
    begin("micro_batch_size=4", "seed=7")
    assert display.warnings == []
    begin("micro_batch_size=4")
    (warning,) = display.warnings
    assert warning.startswith("this run starts from scratch: the unfinished training of this recipe in ")
    assert "has a global batch of 8 (got 4)" in warning
    assert warning.endswith("so that their product with the number of processes is 8")


def test_a_fresh_comparison_runs_its_systems_from_scratch_and_keeps_them(project, launched, display):
    compare(project, display)
    run_dir = compare(project, display, fresh=True)
    assert len(launched["launches"]) == 4
    assert all((path / "metrics.json").is_file() for path in (run_dir / "systems").iterdir())
    display.stages.clear()
    compare(project, display)
    assert len(launched["launches"]) == 4


def test_a_comparison_whose_data_cannot_be_used_leaves_nothing(project, launched, display, everything_in):
    (project / "test.jsonl").write_text('{"dialogue": "A: Hi.", "summary": ""}\n')
    before = everything_in(project)
    with pytest.raises(DataError, match=r"test.jsonl"):
        compare(project, display)
    assert everything_in(project) == before
    assert launched["launches"] == []


def test_one_run_under_two_names_runs_once(project, launched, display):
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes: [{recipe: prompt.yaml, name: A}, {recipe: prompt.yaml, name: B}]\n"
    )
    compare(project, display)
    compare(project, display, fresh=True)
    assert launched["launches"] == [("prompt", "predict")] * 2


def test_finished_runs_can_be_compared_and_reported_again(project, launched, display, capsys):
    from summtune.commands.compare import compare_runs
    from summtune.commands.report import write_report

    run_dir = compare(project, display)
    systems = sorted((run_dir / "systems").iterdir())
    compare_runs(systems, as_json=True)
    comparison = json.loads(capsys.readouterr().out)
    assert [system["name"] for system in comparison["systems"]] == [path.name for path in systems]
    compare_runs(systems, as_json=False)
    assert "ROUGE-1" in capsys.readouterr().out
    for folder in (run_dir, systems[0]):
        (folder / "report.html").unlink()
        write_report(folder, None)
        assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
        assert (folder / "report.html").is_file()


def test_a_path_error_in_a_stage_is_a_stage_error(project, monkeypatch, display):
    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "logs")

    monkeypatch.setattr(pipeline, "run_processes", fail)
    with pytest.raises(StageError, match=r"the predict stage failed: Permission denied \(got logs\)"):
        pipeline.run(resolve(project / "prompt.yaml"), display)
