"""Slurm's commands, made up: each is a few lines of shell on the PATH, and writes down how it was called."""

import os

import pytest
from made_up_recipes import made_up_plan, train_recipe

from summtune.plan.launch import Launch


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Put commands on the PATH: ``commands(name=shell)``; return what they were called with so far."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def put(**shells):
        for name, shell in shells.items():
            path = folder / name
            path.write_text(f'#!/bin/bash\necho "{name} $*" >> {calls}\n{shell}\n')
            path.chmod(0o755)
        return calls.read_text().splitlines()

    return put


@pytest.fixture
def slurm_plan(tmp_path):
    """The plan of a training as a Slurm job; ``deepspeed`` gives its two stages launches of their own."""

    def plan(deepspeed=False, name="lora", **slurm):
        recipe = train_recipe(launcher="slurm", slurm={"nodes": 2} | slurm)
        launch = Launch(
            distribution="data_parallel", processes=2, machines=2, device="cpu", config_file="accelerate.yaml"
        )
        train = launch.model_copy(update={"distribution": "deepspeed", "zero_stage": 2}) if deepspeed else launch
        return made_up_plan(recipe, launch, train, name=name)

    return plan
