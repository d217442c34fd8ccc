import shutil

import pytest

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json, write_json
from summtune.report.run_files import read_comparison, read_run


def test_a_run_is_read_with_its_scores_by_id(run_dir):
    run = read_run(run_dir("lora", kind="train"))
    assert run.name == "lora"
    assert run.training["steps"] == 100
    assert len(run.train_log) == 12
    assert list(run.per_example["test_0"]) == ["rouge1", "rouge2", "rougeL"]
    assert run.as_system()["trainable_parameters"] == 3_538_944


def test_a_prompted_run_has_no_training(run_dir):
    run = read_run(run_dir())
    assert run.training is None
    assert run.train_log == ()


@pytest.mark.parametrize(
    "file", ["metrics.json", "per_example.jsonl", "plan.json", "prediction_stats.json", "predictions.jsonl"]
)
def test_a_missing_file_is_named(run_dir, file):
    folder = run_dir()
    (folder / file).unlink()
    with pytest.raises(RunDirectoryError, match=rf"is not a finished run \(got no {file}\); finish it with"):
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


def test_a_comparison_of_an_older_summtune_is_refused(compare_dir):
    folder = compare_dir()
    comparison = read_json(folder / "comparison.json")
    del comparison["protocol"]["correction"]
    write_json(folder / "comparison.json", comparison)
    with pytest.raises(RunDirectoryError, match=r"by an older summtune \(got p-values without correction\); run the"):
        read_comparison(folder)
