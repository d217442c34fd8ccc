"""The plan: batch arithmetic, stages that share a launch, and what stands in plan.json."""

import pytest

from summtune.base.errors import RunDirectoryError
from summtune.base.files import write_json
from summtune.plan.plan import StagePlan, launch_groups, read_plan
from summtune.plan.launch import Batch, Launch
from summtune.plan.resolve import resolve
from summtune.recipe.keys import Recipe

CPU = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")
ZERO = Launch(distribution="deepspeed", processes=2, device="cpu", config_file="accelerate.yaml", zero_stage=2)


def batch(processes=1, pairs=None, **keys):
    return Batch.of(Recipe.model_validate({"kind": "train"} | keys), processes, pairs)


def test_the_global_batch_is_micro_times_accumulation_times_processes():
    assert batch(processes=4, micro_batch_size=2, gradient_accumulation_steps=3).global_batch == 24


@pytest.mark.parametrize(
    ("pairs", "keys", "per_epoch", "steps"),
    [
        (100, {"micro_batch_size": 8, "num_epochs": 3}, 13, 39),
        (96, {"micro_batch_size": 8, "num_epochs": 3}, 12, 36),
        (100, {"micro_batch_size": 8, "num_epochs": 0.5}, 13, 7),
        (100, {"micro_batch_size": 8, "max_steps": 5}, 13, 5),
        (1, {"micro_batch_size": 8, "num_epochs": 1}, 1, 1),
        (None, {"max_steps": 5}, None, 5),
        (None, {}, None, None),
    ],
)
def test_steps_follow_from_the_pairs(pairs, keys, per_epoch, steps):
    arithmetic = batch(pairs=pairs, **keys)
    assert (arithmetic.steps_per_epoch, arithmetic.optimizer_steps) == (per_epoch, steps)


def test_neighbours_that_are_launched_alike_share_a_launch():
    train, predict = StagePlan(name="train", launch=CPU), StagePlan(name="predict", launch=CPU)
    evaluate, report = StagePlan(name="evaluate"), StagePlan(name="report")
    assert launch_groups([train, predict, evaluate, report]) == [[train, predict], [evaluate], [report]]
    sharded = StagePlan(name="train", launch=ZERO)
    assert launch_groups([sharded, predict, evaluate]) == [[sharded], [predict], [evaluate]]
    assert launch_groups([]) == []


def test_a_plan_is_read_as_it_was_written(project):
    plan = resolve(project / "train.yaml").plan
    write_json(project / "plan.json", plan.to_json())
    assert read_plan(project) == plan
    assert "shots" not in plan.to_json()["recipe"]
    assert plan.to_json()["recipe"]["base_model"] == str(project / "model")
    assert {"summtune", "torch", "transformers"} <= set(plan.versions)


def test_a_folder_without_a_plan_or_with_another_versions_is_told(project):
    with pytest.raises(FileNotFoundError):
        read_plan(project)
    write_json(project / "plan.json", resolve(project / "prompt.yaml").plan.to_json() | {"format": 99})
    with pytest.raises(RunDirectoryError, match=r"plan.json is not a plan of this version of summtune \(got format: "):
        read_plan(project)
