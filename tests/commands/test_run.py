"""One command on one machine or on several."""

import pytest

from summtune.base.errors import InputError
from summtune.commands import run


def test_detach_is_refused_without_a_slurm_job(project):
    with pytest.raises(InputError, match=r"--detach needs a Slurm job \(got a recipe without `launcher: slurm`\)"):
        run.run_recipe(project / "train.yaml", [], None, detach=True)
    assert not (project / "outputs").exists()


def test_without_a_rank_the_command_for_each_machine_is_shown(project, monkeypatch):
    monkeypatch.delenv("MACHINE_RANK", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "first")
    with pytest.raises(
        InputError, match=r"num_machines: 2 needs the command on each machine \(got no MACHINE"
    ) as caught:
        run.run_recipe(project / "train.yaml", ["num_machines=2", "num_processes=2"], project / "out", fresh=True)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split("MACHINE_RANK=")[1] for line in lines] == [
        f"{rank} summtune run {project}/train.yaml --set num_machines=2 --set num_processes=2 "
        f"--output-dir {project}/out --fresh"
        for rank in (0, 1)
    ]
    assert not (project / "out").exists()


def test_another_machine_joins_and_prepares_nothing(project, monkeypatch, capsys):
    joined = []
    monkeypatch.setattr(run, "join", lambda *arguments: joined.append(arguments))
    for key, value in {"MACHINE_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "1234"}.items():
        monkeypatch.setenv(key, value)
    run.run_recipe(project / "train.yaml", ["num_machines=2", "num_processes=2"], project / "out")
    ((machine, identity, _, complete),) = joined
    assert machine == run.MachineRank(1, "first", 1234)
    assert identity == run.resolve(project / "train.yaml", ["num_machines=2", "num_processes=2"]).identity
    assert not complete()
    assert f"machine 1 has finished; the result is in {project / 'out'}" in capsys.readouterr().err
    assert not (project / "out").exists()


def test_the_first_machine_runs_with_the_others(project, monkeypatch):
    came = []
    monkeypatch.setattr(run, "run", lambda *arguments: came.append(arguments))
    for key, value in {"MACHINE_RANK": "0", "MASTER_ADDR": "first"}.items():
        monkeypatch.setenv(key, value)
    run.run_recipe(project / "train.yaml", ["num_machines=2", "num_processes=2"], project / "out")
    ((*_, others),) = came
    assert (others.machine.rank, others.count) == (0, 2)
