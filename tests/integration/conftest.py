import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from families import FAMILIES, write_tiny
from filelock import FileLock
from real_command import Command, processes_of
from tiny_inputs import dialogues, write_rows


@pytest.fixture
def command():
    """Start a command that is ended with the test at the latest."""
    started = []

    def start(recipe, run_dir, *options, reuses=False):
        started.append(Command(recipe, run_dir, *options, reuses=reuses))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None or processes_of(one.run_dir):
            one.kill_everything()
        one.process.stdout.close()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Have DeepSpeed's operator for processes that meet on a CPU compiled: no test is to wait for it, or to kill it."""
    code = "from summtune.work.process.operators import free_locks; free_locks(print);"
    code += "from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder; ShareMemCommBuilder().load(verbose=False)"
    ninja = os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent)))
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "PATH": ninja}
    with FileLock(tmp_path_factory.getbasetemp().parent / "compiled.lock"):
        # DeepSpeed works without it if it cannot be compiled.
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=500, check=False)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """A folder with a checkpoint of each family, 18 dialogues to train on and 12 to summarize."""
    folder = tmp_path_factory.mktemp("inputs")
    for family in FAMILIES:
        write_tiny(family, folder / family)
    write_rows(folder / "train.jsonl", dialogues(18))
    write_rows(folder / "test.jsonl", dialogues(12, seed=1))
    return folder


@pytest.fixture(scope="session")
def write_recipe(inputs, family):
    """Write a training recipe on the inputs, with the given keys overridden."""

    def write(name, **keys):
        recipe = {
            "kind": "train",
            "base_model": family,
            "datasets": [{"path": "train.jsonl", "id_field": "id"}],
            "test_datasets": [{"path": "test.jsonl", "id_field": "id"}],
            "learning_rate": 0.01,
            "logging_steps": 1,
            "bf16": False,
            "evaluation": {"bootstrap_samples": 100},
            "generation": {"max_new_tokens": 8},
        }
        path = inputs / f"{name}_{family}.yaml"
        path.write_text(json.dumps({key: value for key, value in (recipe | keys).items() if value is not None}))
        return path

    return write
