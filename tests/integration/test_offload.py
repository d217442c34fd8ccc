"""CPU offload trains the same model: DeepSpeed's CPU Adam uses the recipe's settings."""

import pytest
from families import both_families
from real_command import Command, Finished, layout, logs_of, processes_of

from summtune.machine.compiling import missing_for_compiling
from summtune.machine.stored_tensors import stored_tensors

# The optimizer is compiled at its first use on a machine, which takes a minute or more.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("compiled"),
    pytest.mark.skipif(bool(missing_for_compiling()), reason=f"without {', '.join(missing_for_compiling())}"),
]

HALF = {"micro_batch_size": 2, "gradient_accumulation_steps": 2, "num_processes": 2}


@pytest.fixture(scope="session")
def recipe(write_recipe):
    """Three steps an epoch, with weight decay, which an optimizer without the recipe's numbers would leave out."""
    test = [{"path": "test.jsonl", "id_field": "id", "limit": 4}]
    return write_recipe("offload", num_epochs=2, weight_decay=0.3, test_datasets=test)


def finished(recipe, run_dir, **keys):
    code, said = Command(recipe, run_dir, *layout(**keys)).finish(800)
    assert code == 0, said + logs_of(run_dir)
    assert processes_of(run_dir) == []
    return Finished(run_dir, said)


@pytest.fixture(scope="session")
def reference(recipe, tmp_path_factory):
    return finished(recipe, tmp_path_factory.mktemp("offload") / "8x1")


@pytest.mark.parametrize("config", ["zero2_offload", "zero3_offload"])
@both_families
def test_offload_trains_the_same_model(recipe, reference, inputs, tmp_path, config, family):
    run = finished(recipe, tmp_path / "run", **HALF, deepspeed=f"ds_configs/{config}.json")
    assert [row["step"] for row in run.steps] == [row["step"] for row in reference.steps] == list(range(1, 7))
    for key in ("loss", "grad_norm"):
        assert [row[key] for row in run.steps] == pytest.approx([row[key] for row in reference.steps], rel=1e-3)
    assert run.texts == reference.texts
    assert stored_tensors(run.folder / "model") == stored_tensors(inputs / family)
    for name, tensor in run.weights.items():
        # An Adam without weight decay would be 2e-3 away from it.
        assert (tensor - reference.weights[name]).abs().max() < 2e-4, name
    zero = run.json("ds_config.json")["zero_optimization"]
    assert zero["offload_optimizer"] == {"device": "cpu", "pin_memory": True}
    assert zero["reduce_bucket_size"] == run.json("training.json")["trainable_parameters"]
