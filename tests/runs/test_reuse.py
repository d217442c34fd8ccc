"""Which runs may be reused, and what must be equal; `tests/commands/test_reuse.py` has whole runs."""

from pathlib import Path

import pytest

from summtune.runs.reuse import same_inputs, sources
from summtune.runs.run_plan import PlanView


def plan(model=("revision", "content"), **roles):
    data = {role: {"dialogues": 1, "sha256": digest} for role, digest in roles.items()}
    about = dict(zip(("revision", "content_sha256"), model, strict=True))
    return PlanView.model_validate({"kind": "train", "name": "a", "recipe": {}, "model": about, "data": data})


READ = {"train": "1", "validation": "2", "test": "3"}


def test_runs_that_read_the_same_have_the_same_inputs():
    assert same_inputs(plan(**READ), plan(**READ), "train")
    assert same_inputs(plan(**READ), plan(**READ), "predict")


@pytest.mark.parametrize("role", ["train", "validation"])
def test_other_training_data_is_another_input_of_every_stage(role):
    other = plan(**READ | {role: "9"})
    assert not same_inputs(plan(**READ), other, "train")
    assert not same_inputs(plan(**READ), other, "predict")


@pytest.mark.parametrize("role", ["test", "exemplars"])
def test_other_test_data_or_exemplars_are_another_input_of_generation_only(role):
    other = plan(**READ | {role: "9"})
    assert same_inputs(plan(**READ), other, "train")
    assert not same_inputs(plan(**READ), other, "predict")


@pytest.mark.parametrize("model", [("another", "content"), ("revision", "another")])
def test_another_version_of_the_model_is_another_input(model):
    assert not same_inputs(plan(**READ), plan(model, **READ), "train")


@pytest.mark.parametrize("run_dir", ["/systems/nowhere", "/nowhere"])
def test_a_run_directory_near_the_root_has_no_folder_above(run_dir):
    assert sources(Path(run_dir), "train", {"train": "0" * 64}) == []
