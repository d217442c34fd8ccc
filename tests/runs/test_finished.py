import shutil

import pytest

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json, read_jsonl, write_json, write_jsonl
from summtune.base.strict import read_model, read_model_lines
from summtune.runs.comparison import Comparison
from summtune.runs.finished import read_comparison, read_run
from summtune.runs.metrics import RunMetrics
from summtune.runs.statistics import PredictionStats, Training, TrainLogRow


def test_a_run_is_read_with_its_scores_by_id(run_dir):
    run = read_run(run_dir("lora", kind="train"))
    assert run.name == "lora"
    assert run.facts.training.steps == 100
    assert len(run.train_log) == 12
    assert list(run.per_example["test_0"]) == ["rouge1", "rouge2", "rougeL"]
    assert run.compared().trainable_parameters == 3_538_944


def test_a_prompted_run_has_no_training(run_dir):
    run = read_run(run_dir())
    assert run.facts.training is None
    assert run.train_log == ()


@pytest.mark.parametrize(
    "file", ["metrics.json", "per_example.jsonl", "plan.json", "prediction_stats.json", "predictions.jsonl"]
)
def test_a_missing_file_is_named(run_dir, file):
    folder = run_dir()
    (folder / file).unlink()
    with pytest.raises(
        RunDirectoryError, match=rf"is not a finished run \(got no {file}\); give its `summtune run` command"
    ):
        read_run(folder)


def test_a_comparison_finds_its_runs_if_all_were_moved_together(compare_dir, tmp_path):
    folder = compare_dir()
    for name in ("zero_shot", "lora"):
        shutil.move(tmp_path / name, folder / name)
    assert [run.name for run in read_comparison(folder).runs] == ["zero_shot", "lora"]


def test_a_missing_run_of_a_comparison_is_named(compare_dir, tmp_path):
    folder = compare_dir()
    shutil.rmtree(tmp_path / "lora")
    with pytest.raises(RunDirectoryError, match=r"the run of LoRA is missing \(got .*lora\); restore it"):
        read_comparison(folder)


def test_a_folder_without_comparison_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"got no comparison.json"):
        read_comparison(tmp_path)


@pytest.mark.parametrize(
    ("file", "got"),
    [("per_example.jsonl", "got scores of 3 dialogues instead of 6"), ("predictions.jsonl", "got 3 predictions for 6")],
)
def test_files_that_do_not_fit_each_other_are_refused(run_dir, file, got):
    folder = run_dir()
    write_jsonl(folder / file, list(read_jsonl(folder / file))[:3])
    with pytest.raises(RunDirectoryError, match=rf"{file} does not fit metrics.json \({got}.*\); delete metrics.json"):
        read_run(folder)


def test_a_dialogue_without_the_score_that_others_have_is_named(run_dir):
    folder = run_dir()
    first, *rest = read_jsonl(folder / "per_example.jsonl")
    write_jsonl(folder / "per_example.jsonl", [first, {"id": rest[0]["id"], "rouge1": 0.5}, *rest[1:]])
    with pytest.raises(RunDirectoryError, match=r"\(got the metrics rouge1 for 'test_1'\)"):
        read_run(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("metrics.json", {"n": "6"}, r"metrics.json: n: Input should be a valid integer \(got '6'\)"),
        ("metrics.json", {"floor": {"name": "x"}}, r"metrics.json: floor.n: Field required; restore the file"),
        ("metrics.json", {"per_example": "/dev/zero"}, r"per_example: .* \(got '/dev/zero'\)"),
        ("training.json", {"speed": 1}, r"training.json: speed: Extra inputs are not permitted \(got 1\)"),
        ("prediction_stats.json", {"seconds": True}, r"seconds: Input should be a valid number \(got True\)"),
        ("prediction_stats.json", {"seconds": 1e300}, r"seconds: .*less than or equal to .* \(got 1e\+300\)"),
        ("plan.json", {"kind": "sing"}, r"plan.json: kind: .* \(got 'sing'\)"),
    ],
)
def test_a_damaged_file_is_refused_with_the_field_and_its_value(run_dir, file, change, message):
    folder = run_dir("lora", kind="train")
    write_json(folder / file, read_json(folder / file) | change)
    with pytest.raises(RunDirectoryError, match=message):
        read_run(folder)


def test_a_damaged_line_is_named(run_dir):
    folder = run_dir()
    with (folder / "per_example.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "x", "rouge1": NaN}\n')
    with pytest.raises(RunDirectoryError, match=r"per_example.jsonl, line 7: rouge1: .*finite number \(got nan\)"):
        read_run(folder)


def test_a_comparison_is_refused_as_a_single_run(compare_dir):
    folder = compare_dir()
    write_json(folder / "plan.json", {"format": 2, "kind": "compare", "name": "c", "recipe": {}})
    with pytest.raises(RunDirectoryError, match="holds a comparison"):
        read_run(folder)


def test_a_baseline_that_is_not_a_system_is_refused(compare_dir):
    folder = compare_dir()
    write_json(folder / "comparison.json", read_json(folder / "comparison.json") | {"baseline": "nobody"})
    with pytest.raises(RunDirectoryError, match=r"comparison.json: .*baseline is not one of the systems: 'nobody'"):
        read_comparison(folder)


def test_a_run_and_a_comparison_survive_reading_and_writing(compare_dir, tmp_path):
    compare_dir()
    models = {
        "metrics.json": RunMetrics,
        "training.json": Training,
        "prediction_stats.json": PredictionStats,
        "comparison.json": Comparison,
    }
    seen = set()
    for path in tmp_path.rglob("*.json"):
        if path.name in models:
            seen.add(path.name)
            assert read_model(models[path.name], path).to_json() == read_json(path)
    assert seen == models.keys()
    rows = read_model_lines(TrainLogRow, tmp_path / "lora" / "train_log.jsonl")
    assert [row.to_json() for row in rows] == list(read_jsonl(tmp_path / "lora" / "train_log.jsonl"))
