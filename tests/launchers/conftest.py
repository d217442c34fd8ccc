"""Slurm's commands, made up: each is a few lines of shell on the PATH, and writes down how it was called."""

import os

import pytest

from summtune.plan.plan import Plan, StagePlan
from summtune.plan.launch import Launch
from summtune.recipe.keys import Recipe


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
        recipe = Recipe.model_validate({"kind": "train", "launcher": "slurm", "slurm": {"nodes": 2} | slurm})
        launch = Launch(
            distribution="data_parallel", processes=2, machines=2, device="cpu", config_file="accelerate.yaml"
        )
        train = launch.model_copy(update={"distribution": "deepspeed", "zero_stage": 2}) if deepspeed else launch
        return Plan(
            kind="train", name=name, identity="0" * 64, recipe_path="lora.yaml", created_at="2026-01-01T00:00:00Z",
            git_commit=None, versions={}, recipe=recipe,
            stages=[
                StagePlan(name="train", launch=train), StagePlan(name="predict", launch=launch),
                StagePlan(name="evaluate"), StagePlan(name="report"),
            ],
        )  # fmt: skip

    return plan
