import pytest
from made_up_results import prediction_stats
from made_up_summaries import GOOD

from summtune.base.errors import RunDirectoryError
from summtune.base.files import write_json
from summtune.evaluator.systems import read_scores, read_system
from summtune.runs.cost import UNKNOWN_COST, Cost


def test_a_trained_system_is_read_with_its_cost(finished, tmp_path):
    system = finished("lora", GOOD, kind="train")
    assert (system.name, system.run_dir, system.facts.kind) == ("lora", tmp_path / "lora", "train")
    cost = Cost(training_device_hours=2.0, devices=4, peak_memory_bytes=2**30, size_bytes=1000)
    compared = read_scores(system).compared()
    assert (compared.cost, compared.parameters) == (cost, (10, 1000))


def test_a_prompted_system_costs_no_training_and_no_disk(finished, tmp_path):
    finished("prompted", GOOD)
    stats = prediction_stats(peak_memory_bytes=77)
    write_json(tmp_path / "prompted" / "prediction_stats.json", stats.to_json())
    cost = Cost(training_device_hours=0.0, devices=None, peak_memory_bytes=77, size_bytes=0)
    assert read_system("prompted", tmp_path / "prompted").facts.cost == cost


def test_a_run_without_a_name_is_named_after_its_directory(finished, tmp_path):
    finished("lora-1a2b3c4d", GOOD)
    assert read_system(None, tmp_path / "lora-1a2b3c4d").name == "lora-1a2b3c4d"


def test_external_outputs_have_no_known_cost(finished, tmp_path):
    finished("theirs", GOOD)
    write_json(tmp_path / "theirs" / "plan.json", {"format": 2, "name": "Their system", "kind": "scored", "recipe": {}})
    stats = prediction_stats(trainable_parameters=None, total_parameters=None)
    write_json(tmp_path / "theirs" / "prediction_stats.json", stats.to_json())
    system = read_system(None, tmp_path / "theirs")
    compared = read_scores(system).compared()
    assert (compared.name, compared.kind, compared.parameters, compared.cost) == (
        "Their system", "scored", None, UNKNOWN_COST,
    )  # fmt: skip


def test_scores_are_kept_by_metric_and_outputs_by_id(finished):
    scored = read_scores(finished("a", GOOD))
    assert list(scored.per_example) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    assert scored.outputs["3"] == GOOD[3]


def test_a_comparison_is_refused_as_a_system(tmp_path):
    write_json(tmp_path / "plan.json", {"format": 2, "kind": "compare", "name": "c", "recipe": {}})
    with pytest.raises(RunDirectoryError, match=r"holds a comparison \(got a plan of kind compare\); name prompt or"):
        read_system("x", tmp_path)
