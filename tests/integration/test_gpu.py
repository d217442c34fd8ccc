"""On a GPU, trainings and predictions do what they do on a CPU."""

import importlib.util
import json
import math

import pytest
from real_command import Command, layout, run_to_the_end, wait_until
from tiny_inputs import overflow, write_checkpoint

from summtune.machine.compiling import missing_for_compiling

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def rehearsed(request):
    """Whether these tests run on the CPU, to try their code."""
    return request.config.getoption("--rehearse-gpu")


@pytest.fixture(scope="session")
def recipe(write_recipe):
    """Ten steps in fp32, with a validation split."""
    return write_recipe("gpu", num_processes=1, micro_batch_size=4, max_steps=10, val_set_size=4, num_epochs=None)


@pytest.fixture(scope="session")
def on_cpu(recipe, tmp_path_factory):
    return run_to_the_end(recipe, tmp_path_factory.mktemp("on_cpu") / "run")


@pytest.fixture(scope="session")
def on_gpu(recipe, tmp_path_factory):
    return run_to_the_end(recipe, tmp_path_factory.mktemp("on_gpu") / "run", gpu=True)


def assert_same_losses(run, other, rel=1e-3):
    assert [row["step"] for row in run.steps] == [row["step"] for row in other.steps]
    for key in ("loss", "grad_norm"):
        assert [row[key] for row in run.steps] == pytest.approx([row[key] for row in other.steps], rel=rel), key


def test_the_gpu_trains(on_gpu, rehearsed):
    plan, training = on_gpu.json("plan.json"), on_gpu.json("training.json")
    assert plan["train"]["device"] == plan["predict"]["device"] == ("cpu" if rehearsed else "cuda")
    assert training["processes"] == 1
    # The tiny model's tensors, and not the process's memory with its libraries.
    assert rehearsed or 0 < training["peak_memory_bytes"] < 200_000_000


def test_losses_in_fp32_are_those_of_a_cpu(on_gpu, on_cpu):
    assert_same_losses(on_gpu, on_cpu)
    assert on_gpu.evaluations == pytest.approx(on_cpu.evaluations, rel=1e-3)


def test_bf16_is_the_default_on_a_gpu(recipe, on_cpu, rehearsed, tmp_path):
    run = run_to_the_end(recipe, tmp_path / "run", *layout(bf16="auto"), gpu=True)
    assert rehearsed or run.json("training.json")["precision"] == "bf16"
    losses, exact = ([row["loss"] for row in each.steps] for each in (run, on_cpu))
    assert losses[0] == pytest.approx(exact[0], rel=0.02)
    assert losses[-1] < losses[0]
    assert len(run.texts) == 12


@pytest.mark.parametrize(("bf16", "rel"), [("false", 1e-3), ("auto", 0.05)])
def test_a_killed_training_resumes_with_the_same_dropout(write_recipe, inputs, tmp_path, bf16, rel):
    write_checkpoint(inputs / "dropping", dropout_rate=0.3)
    keys = {"base_model": "dropping", "micro_batch_size": 4, "num_processes": 1, "max_steps": 12, "save_steps": 1}
    path = write_recipe(f"killed_{bf16}", **keys, bf16="auto" if bf16 == "auto" else False)
    whole = run_to_the_end(path, tmp_path / "whole", gpu=True)
    command = Command(path, tmp_path / "run", gpu=True)
    checkpoints = tmp_path / "run" / "checkpoints"
    wait_until(lambda: len(list(checkpoints.glob("*/manifest.json"))) > 1, what="the second checkpoint")
    command.kill_everything()
    assert not (tmp_path / "run" / "model").exists()
    resumed = run_to_the_end(path, tmp_path / "run", gpu=True)
    assert 2 <= resumed.json("training.json")["resumed_from_step"] < 12
    assert_same_losses(resumed, whole, rel)


def test_a_loss_that_is_not_a_number_ends_the_training_with_its_step(write_recipe, inputs, tmp_path):
    overflow(write_checkpoint(inputs / "overflowing"))
    path = write_recipe("overflowing", base_model="overflowing", num_processes=1, max_steps=6, num_epochs=None)
    code, said = Command(path, tmp_path / "run", gpu=True).finish()
    assert code == 1
    assert "at step 1" in said
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_in_fp32_are_those_of_a_cpu(tmp_path, beams):
    recipe = {
        "kind": "prompt",
        "base_model": "builtin/flan-t5-nano",
        "test_datasets": [{"path": "builtin/dialogues", "split": "test", "limit": 16}],
        "bf16": False,
        "num_processes": 1,
        "generation": {"max_new_tokens": 40, "num_beams": beams},
        "evaluation": {"bootstrap_samples": 100},
    }
    path = tmp_path / "prompt.yaml"
    path.write_text(json.dumps(recipe))
    texts = run_to_the_end(path, tmp_path / "on_gpu", gpu=True).texts
    assert len(texts) == 16
    assert texts == run_to_the_end(path, tmp_path / "on_cpu").texts


def test_lora_trains_its_adapter(recipe, tmp_path):
    run = run_to_the_end(recipe, tmp_path / "run", *layout(adapter="lora", lora_r=4, bf16="auto"), gpu=True)
    losses = [row["loss"] for row in run.steps]
    assert losses[-1] < losses[0]
    trained = [tensor for name, tensor in run.weights.items() if "lora_B" in name]
    assert trained
    assert all(bool(tensor.isfinite().all()) and bool(tensor.any()) for tensor in trained)


def test_qlora_trains_its_adapter(recipe, rehearsed, tmp_path):
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("needs bitsandbytes (pip install 'summtune[qlora]')")
    if rehearsed:
        pytest.skip("qlora is refused without a CUDA device")
    run = run_to_the_end(recipe, tmp_path / "run", *layout(adapter="qlora", lora_r=4, bf16="auto"), gpu=True)
    losses = [row["loss"] for row in run.steps]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
    assert len(run.texts) == 12


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_on_one_gpu_trains_the_same_model(recipe, on_gpu, rehearsed, request, tmp_path, stage):
    if rehearsed:
        request.getfixturevalue("compiled")
    run = run_to_the_end(recipe, tmp_path / "run", *layout(deepspeed=f"ds_configs/zero{stage}.json"), gpu=True)
    assert run.json("plan.json")["train"]["zero_stage"] == stage
    assert_same_losses(run, on_gpu)
    assert run.weights.keys() == on_gpu.weights.keys()


def test_gradient_checkpointing_changes_no_loss(recipe, on_gpu, tmp_path):
    run = run_to_the_end(recipe, tmp_path / "run", *layout(gradient_checkpointing="true"), gpu=True)
    assert_same_losses(run, on_gpu)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_for_compiling()), reason=f"without {', '.join(missing_for_compiling())}")
@pytest.mark.parametrize("stage", [2, 3])
def test_offload_trains_the_same_model(recipe, on_gpu, rehearsed, tmp_path, stage):
    from torch.utils.cpp_extension import CUDA_HOME

    if not rehearsed and CUDA_HOME is None:
        pytest.skip("needs the CUDA toolkit (nvcc) to compile DeepSpeed's optimizer")
    run = run_to_the_end(recipe, tmp_path / "run", *layout(deepspeed=f"ds_configs/zero{stage}_offload.json"), gpu=True)
    assert_same_losses(run, on_gpu)


@pytest.mark.slow
def test_a_compiled_model_has_the_same_losses(recipe, on_gpu, tmp_path):
    run = run_to_the_end(recipe, tmp_path / "run", *layout(torch_compile="true"), gpu=True)
    assert_same_losses(run, on_gpu, rel=1e-2)
