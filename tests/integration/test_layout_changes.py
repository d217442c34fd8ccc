"""A training that is stopped on one layout resumes on any other, with the losses of an undisturbed training."""

import pytest
from families import FAMILIES, both_families
from forked_trainings import finish, prepared

pytestmark = pytest.mark.usefixtures("compiled")
SLOW = pytest.mark.slow

STEPS = 6
ONE = {"num_processes": 1, "micro_batch_size": 8}
TWO = {"num_processes": 2, "micro_batch_size": 4}


def zero(stage):
    return {"deepspeed": f"ds_configs/zero{stage}.json"}


@pytest.fixture(scope="module")
def recipe(write_recipe):
    return write_recipe("layout_changes", max_steps=STEPS, save_steps=100, val_set_size=5, eval_steps=100)


@pytest.fixture(scope="module")
def adapter_recipe(write_recipe):
    keys = {"adapter": "lora", "lora_r": 4, "lora_dropout": 0.0, "val_set_size": 5, "eval_steps": 100}
    return write_recipe("layout_changes_lora", max_steps=STEPS, save_steps=100, **keys)


def undisturbed(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return finish(prepared(recipe, folder, ONE), folder)


@pytest.fixture(scope="module")
def reference(recipe, tmp_path_factory):
    return undisturbed(recipe, tmp_path_factory)


@pytest.fixture(scope="module")
def adapter_reference(adapter_recipe, tmp_path_factory):
    return undisturbed(adapter_recipe, tmp_path_factory)


def assert_resumes_to_the_same_end(recipe, before, now, reference, folder):
    finish(prepared(recipe, folder, before), folder, stop_at=3)
    run = finish(prepared(recipe, folder, now), folder)
    assert run.json("training.json")["resumed_from_step"] == 3
    assert [row["step"] for row in run.steps] == list(range(1, STEPS + 1))
    for key in ("loss", "grad_norm", "learning_rate"):
        assert [row[key] for row in run.steps] == pytest.approx([row[key] for row in reference.steps], rel=1e-3)
    names = reference.weights.keys()
    assert run.weights.keys() == names
    assert max(float((run.weights[name] - reference.weights[name]).abs().max()) for name in names) < 5e-3


CHANGES = {
    "ZeRO-2, 2 to 1": (TWO | zero(2), ONE | zero(2)),
    "ZeRO-3, 1 to 2": (ONE | zero(3), TWO | zero(3)),
    "ZeRO-1, 2 to 1": (TWO | zero(1), ONE | zero(1)),
    "ZeRO-1, 1 to 2": (ONE | zero(1), TWO | zero(1)),
    "ZeRO-2, 1 to 2": (ONE | zero(2), TWO | zero(2)),
    "ZeRO-3, 2 to 1": (TWO | zero(3), ONE | zero(3)),
    "ZeRO-3 to ZeRO-1": (TWO | zero(3), TWO | zero(1)),
    "ZeRO-2 to one process": (TWO | zero(2), ONE),
    "one process to ZeRO-3": (ONE, TWO | zero(3)),
    "data parallel to ZeRO-2": (TWO, TWO | zero(2)),
}
QUICK = ("encoder_decoder", "ZeRO-2, 2 to 1")


@pytest.mark.parametrize(
    ("family", "before", "now"),
    [
        pytest.param(family, *change, marks=() if (family, name) == QUICK else SLOW, id=f"{family}, {name}")
        for family in FAMILIES
        for name, change in CHANGES.items()
    ],
    indirect=["family"],
)
def test_a_training_resumes_on_another_layout(recipe, reference, tmp_path, before, now):
    assert_resumes_to_the_same_end(recipe, before, now, reference, tmp_path / "run")


@pytest.mark.slow
@both_families
@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(TWO | zero(3), ONE, id="ZeRO-3 to one process"),
        pytest.param(ONE, TWO | zero(2), id="one process to ZeRO-2"),
    ],
)
def test_an_adapter_resumes_on_another_layout(adapter_recipe, adapter_reference, tmp_path, before, now):
    assert_resumes_to_the_same_end(adapter_recipe, before, now, adapter_reference, tmp_path / "run")
