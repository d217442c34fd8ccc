import json
from functools import partial

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny_inputs import dialogues, write_checkpoint, write_rows
from trained_runs import Killed

from summtune.events import Events, events_file
from summtune.files import read_jsonl, write_json
from summtune.preparation import prepare_data
from summtune.resolution import resolve
from summtune.work.models import load_tokenizer
from summtune.work.stopping import StopRequest
from summtune.work.trainer import Recorder
from summtune.work.training import train


@pytest.fixture(scope="session", autouse=True)
def on_one_cpu_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
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
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint)


class PreparedRun:
    """A run directory as a worker finds it, and what its stages said."""

    def __init__(self, plan, folder):
        self.plan = plan
        self.folder = folder

    def events(self, stage="train"):
        return Events(self.folder, stage, 0)

    @property
    def said(self):
        path = events_file(self.folder)
        return [event for event in read_jsonl(path) if "text" in event] if path.exists() else []

    def texts(self, kind):
        return [event["text"] for event in self.said if event["event"] == kind]

    @property
    def log(self):
        return list(read_jsonl(self.folder / "train_log.jsonl"))

    @property
    def losses(self):
        return [row["loss"] for row in self.log if "loss" in row]

    @property
    def training(self):
        return json.loads((self.folder / "training.json").read_text())


def prepared_run(folder, checkpoint, name="run", train=13, test=3, rows=None, **keys):
    """Write the run directory of a recipe below ``folder``, as the command does before it starts a worker."""
    training_rows = write_rows(folder / f"{name}.train.jsonl", rows or dialogues(train))
    test_rows = write_rows(folder / f"{name}.test.jsonl", dialogues(test, seed=1))
    recipe = {
        "kind": "train",
        "base_model": str(checkpoint),
        "datasets": [{"path": str(training_rows), "id_field": "id"}],
        "test_datasets": [{"path": str(test_rows), "id_field": "id"}],
        "learning_rate": 0.01,
        "num_epochs": 2,
        "logging_steps": 1,
        "bf16": False,
        "generation": {"max_new_tokens": 6},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({key: value for key, value in (recipe | keys).items() if value is not None}))
    plan = resolve(path).plan
    run_dir = folder / name
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    plan = plan.model_copy(update={"data": prepare_data(plan.recipe, run_dir, lambda _: None)})
    write_json(run_dir / "plan.json", plan.to_json())
    return PreparedRun(plan, run_dir)


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
def killed_after(prepare, monkeypatch):
    """Train a recipe until a step is over, and end there as a kill would."""

    def start(step, name="killed", **keys):
        run = prepare(name=name, **({"save_steps": 1, "save_total_limit": 10} | keys))
        with monkeypatch.context() as patch:

            def on_step_begin(self, args, state, control, **_):
                if state.global_step == step:
                    raise Killed

            patch.setattr(Recorder, "on_step_begin", on_step_begin)
            with pytest.raises(Killed):
                train(run.plan, run.folder, run.events(), StopRequest())
        return run

    return start
