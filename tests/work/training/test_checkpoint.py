"""A checkpoint restores weights, optimizer and random numbers bit for bit; see also tests/integration."""

import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open

from summtune.base.errors import RunDirectoryError
from summtune.work.models.loading import load_model
from summtune.work.training import checkpoint as module
from summtune.work.training.checkpoint import (
    STATE_FILE,
    TrainingState,
    load_optimizer,
    load_random_state,
    load_weights,
    read_state,
    write_checkpoint,
)
from summtune.work.training.optimizer import optimizer_of


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True)


@pytest.fixture
def begin(accelerator, checkpoint, prepare):
    """Return a model and its optimizer, both prepared."""

    def start(name):
        model = load_model(checkpoint, torch.float32).train()
        return accelerator.prepare(model, optimizer_of(model, prepare(optimizer=name).plan.recipe))

    return start


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    ids = torch.randint(2, 200, (2, 9))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", ["adamw_torch_fused", "adamw_torch", "adafactor", "sgd"])
def test_a_restored_training_takes_the_same_steps(accelerator, begin, tmp_path, name):
    model, optimizer = begin(name)
    for seed in range(3):
        step(model, optimizer, seed)
    write_checkpoint(tmp_path / "checkpoint-3", accelerator, model, optimizer, TrainingState(step=3))
    again, its_optimizer = begin(name)
    load_weights(tmp_path / "checkpoint-3", again)
    load_optimizer(tmp_path / "checkpoint-3", accelerator, again, its_optimizer)
    for seed in range(3, 6):
        step(model, optimizer, seed)
        step(again, its_optimizer, seed)
    for (key, one), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), key


def test_files_are_divided_and_hold_each_tensor_once(accelerator, begin, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FILE_BYTES", 20_000)
    model, optimizer = begin("adamw_torch")
    step(model, optimizer, 0)
    write_checkpoint(tmp_path / "checkpoint-1", accelerator, model, optimizer, TrainingState(step=1))
    names = []
    for path in sorted((tmp_path / "checkpoint-1").glob("weights-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names += file.keys()
    assert len(list((tmp_path / "checkpoint-1").glob("weights-*.safetensors"))) > 3
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    again, its_optimizer = begin("adamw_torch")
    load_weights(tmp_path / "checkpoint-1", again)
    load_optimizer(tmp_path / "checkpoint-1", accelerator, again, its_optimizer)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


def test_random_numbers_continue_on_as_many_ranks_only(accelerator, begin, tmp_path):
    model, optimizer = begin("sgd")
    torch.manual_seed(5)
    write_checkpoint(tmp_path / "checkpoint-1", accelerator, model, optimizer, TrainingState(step=1))
    expected = torch.rand(3)
    torch.manual_seed(9)
    assert load_random_state(tmp_path / "checkpoint-1", accelerator)
    assert torch.equal(torch.rand(3), expected)
    (tmp_path / "checkpoint-1" / "random-00001.safetensors").write_bytes(b"")  # of a second rank
    assert not load_random_state(tmp_path / "checkpoint-1", accelerator)


def test_the_state_is_read_as_it_was_written(accelerator, begin, tmp_path):
    model, optimizer = begin("sgd")
    state = TrainingState(step=7, logged_step=5, pending_losses=(1.25,), best_step=4, best_loss=0.5, seconds=3.5)
    write_checkpoint(tmp_path / "checkpoint-7", accelerator, model, optimizer, state)
    assert read_state(tmp_path / "checkpoint-7") == state
    (tmp_path / "checkpoint-7" / STATE_FILE).write_text('{"step": "7"}')
    with pytest.raises(RunDirectoryError, match=r"state.json: step"):
        read_state(tmp_path / "checkpoint-7")
