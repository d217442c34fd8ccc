from functools import partial

import pytest
import torch
from accelerate.state import AcceleratorState
from families import FAMILIES, write_tiny
from prepared_runs import prepared_run
from trained_runs import Killed, before_each_step

from summtune.work.models.loading import load_tokenizer
from summtune.work.process.stopping import StopRequest
from summtune.work.training.loop import train


@pytest.fixture(scope="session", autouse=True)
def on_one_cpu_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def forget_accelerate():
    """Accelerate keeps the devices and processes of the first training for the life of the process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def checkpoints_of_families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {family: write_tiny(family, folder / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def checkpoint(checkpoints_of_families, family):
    return checkpoints_of_families[family]


@pytest.fixture(scope="session")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint)


@pytest.fixture
def prepare(tmp_path, checkpoint):
    return partial(prepared_run, tmp_path, checkpoint)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, checkpoint):
    """A training that nothing disturbed, with a checkpoint at each step."""
    run = prepared_run(tmp_path_factory.mktemp("uninterrupted"), checkpoint, save_steps=1)
    train(run.plan, run.folder, run.events(), StopRequest())
    AcceleratorState._reset_state(reset_partial_state=True)
    return run


@pytest.fixture
def trained(prepare):
    """Train a recipe and return its run."""

    def start(name="run", **keys):
        run = prepare(name=name, **keys)
        train(run.plan, run.folder, run.events(), StopRequest())
        return run

    return start


@pytest.fixture
def killed_after(prepare):
    """Train a recipe until a step is over, and end there as a kill would."""

    def start(step, name="killed", **keys):
        run = prepare(name=name, **({"save_steps": 1, "save_total_limit": 10} | keys))

        def kill(done):
            if done == step:
                raise Killed

        with before_each_step(kill), pytest.raises(Killed):
            train(run.plan, run.folder, run.events(), StopRequest())
        return run

    return start
