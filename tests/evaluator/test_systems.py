import pytest
from made_up_summaries import GOOD

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json, read_jsonl, write_json, write_jsonl
from summtune.evaluator.systems import Cost, FinishedSystem, read_scores, read_system


def test_a_trained_system_is_read_with_its_cost(finished, tmp_path):
    cost = Cost(device_hours=2.0, devices=4, peak_memory_bytes=2**30, size_bytes=1000)
    assert finished("lora", GOOD, kind="train") == FinishedSystem("lora", tmp_path / "lora", "train", 10, 1000, cost)


def test_a_prompted_system_costs_no_training_and_no_disk(finished, tmp_path):
    finished("prompted", GOOD)
    stats = read_json(tmp_path / "prompted" / "prediction_stats.json")
    write_json(tmp_path / "prompted" / "prediction_stats.json", stats | {"peak_memory_bytes": 77})
    assert read_system("prompted", tmp_path / "prompted").cost == Cost(0.0, None, 77, 0)


def test_a_run_without_a_name_is_named_after_its_directory(finished, tmp_path):
    finished("lora-1a2b3c4d", GOOD)
    assert read_system(None, tmp_path / "lora-1a2b3c4d").name == "lora-1a2b3c4d"


def test_external_outputs_have_no_known_cost(finished, tmp_path):
    finished("theirs", GOOD)
    write_json(tmp_path / "theirs" / "plan.json", {"name": "Their system", "kind": "scored"})
    stats = {"trainable_parameters": None, "total_parameters": None}
    write_json(tmp_path / "theirs" / "prediction_stats.json", stats)
    assert read_system(None, tmp_path / "theirs") == FinishedSystem(
        "Their system", tmp_path / "theirs", "scored", None, None, Cost()
    )


@pytest.mark.parametrize("file", ["plan.json", "prediction_stats.json", "training.json"])
def test_an_unfinished_run_is_refused(finished, tmp_path, file):
    finished("a", GOOD, kind="train")
    (tmp_path / "a" / file).unlink()
    with pytest.raises(
        RunDirectoryError, match=rf"not a finished run \(got no {file}\); give its `summtune run` command again"
    ):
        read_system("a", tmp_path / "a")


def test_a_comparison_is_refused_as_a_system(tmp_path):
    write_json(tmp_path / "plan.json", {"kind": "compare"})
    with pytest.raises(RunDirectoryError, match=r"a run of kind compare \(got it as system 'x'\)"):
        read_system("x", tmp_path)


def test_scores_that_do_not_fit_their_metrics_are_refused(finished, tmp_path):
    system = finished("b", GOOD)
    path = tmp_path / "b" / "per_example.jsonl"
    write_jsonl(path, list(read_jsonl(path))[:3])
    with pytest.raises(
        RunDirectoryError, match=r"does not fit metrics.json \(got scores of 3 dialogues instead of 40\)"
    ):
        read_scores(system)
    path.unlink()
    with pytest.raises(RunDirectoryError, match=r"got scores of 0 dialogues instead of 40"):
        read_scores(system)


def test_predictions_that_do_not_fit_the_scores_are_refused(finished, tmp_path):
    system = finished("b", GOOD)
    path = tmp_path / "b" / "predictions.jsonl"
    write_jsonl(path, list(read_jsonl(path))[:3])
    with pytest.raises(RunDirectoryError, match=r"got 3 predictions for 40 scored dialogues\); delete metrics.json"):
        read_scores(system)


def test_scores_of_an_older_summtune_are_refused_with_advice(finished, tmp_path):
    system = finished("b", GOOD)
    metrics = read_json(tmp_path / "b" / "metrics.json")
    del metrics["by_references"]
    write_json(tmp_path / "b" / "metrics.json", metrics)
    with pytest.raises(RunDirectoryError, match=r"by an older summtune \(got no by_references\); delete metrics.json"):
        read_scores(system)
