"""Two machines without a scheduler, both simulated on this one: two commands that form one run."""

import os
import signal
import socket

import pytest
from real_command import Command, Finished, layout, logs_of, processes_of, run_to_the_end, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled")]

ON_TWO = layout(num_machines=2, micro_batch_size=4)


@pytest.fixture(scope="module")
def recipe(write_recipe):
    test = [{"path": "test.jsonl", "id_field": "id", "limit": 4}]
    return write_recipe("machines", num_epochs=4, val_set_size=5, test_datasets=test)


@pytest.fixture
def machine(command, monkeypatch):
    """Give the command on a machine."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = str(probe.getsockname()[1])

    def start(rank, recipe, run_dir, *options, reuses=False):
        for key, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "MACHINE_RANK": str(rank)}.items():
            monkeypatch.setenv(key, value)
        return command(recipe, run_dir, *ON_TWO, *options, reuses=reuses)

    return start


@pytest.mark.parametrize("zero", [(), layout(deepspeed="ds_configs/zero2.json")], ids=["plain", "ZeRO-2"])
def test_two_machines_train_the_same_model(machine, recipe, tmp_path, zero):
    reference = run_to_the_end(recipe, tmp_path / "alone")
    run_dir = tmp_path / "run"
    other, first = (machine(rank, recipe, run_dir, *zero) for rank in (1, 0))
    code, said = first.finish()
    assert code == 0, said + logs_of(run_dir)
    code, said_by_other = other.finish(20)
    assert code == 0, said_by_other
    assert f"machine 1 has finished; the result is in {run_dir}" in said_by_other
    assert "ROUGE-1" not in said_by_other
    run = Finished(run_dir, said)
    for key in ("loss", "grad_norm"):
        assert [row[key] for row in run.steps] == pytest.approx([row[key] for row in reference.steps], rel=1e-3)
    assert run.texts == reference.texts
    assert run.json("training.json")["processes"] == 2
    assert processes_of(run_dir) == []
    # Both find at once that nothing is left to do.
    for rank in (1, 0):
        code, said = machine(rank, recipe, run_dir, *zero).finish(30)
        assert code == 0, said


def test_the_other_machines_end_when_one_dies_and_the_commands_resume(machine, recipe, tmp_path):
    run_dir = tmp_path / "run"
    checkpoints = run_dir / "checkpoints"
    other, first = (machine(rank, recipe, run_dir) for rank in (1, 0))
    wait_until(lambda: any(checkpoints.glob("checkpoint-*/manifest.json")), what="a checkpoint")
    os.kill(other.process.pid, signal.SIGKILL)
    code, said = first.finish(60)
    assert code == 1, said
    assert "machine 1 has disconnected" in said or "the train stage failed" in said
    wait_until(lambda: not processes_of(run_dir), 20, "the end of all processes")
    other, first = (machine(rank, recipe, run_dir) for rank in (1, 0))
    code, said = first.finish()
    assert code == 0, said + logs_of(run_dir)
    assert other.finish(20)[0] == 0
    assert Finished(run_dir).json("training.json")["resumed_from_step"] >= 2


def test_two_machines_take_the_whole_way_of_a_recipe_together(machine, recipe, tmp_path):
    run_dir = tmp_path / "run"
    zero = layout(deepspeed="ds_configs/zero2.json")
    other, first = (machine(rank, recipe, run_dir, "--smoke", *zero) for rank in (1, 0))
    code, said = first.finish()
    assert code == 0, said
    assert said.count("starting 2 processes") == 3, "training, training again, prediction"
    assert "resuming from checkpoint-1" in said
    assert "smoke  passed in " in said
    code, said = other.finish(30)
    assert code == 0, said
    assert "machine 1 has finished; machine 0 shows the result" in said
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path / "smoke" / "run" / "run") == []


def test_the_command_for_each_machine_is_printed(recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("MACHINE_RANK", raising=False)
    code, said = Command(recipe, tmp_path / "run", *ON_TWO).finish(30)
    assert code == 2
    for rank in (0, 1):
        assert f"MASTER_PORT=29500 MACHINE_RANK={rank} summtune run {recipe} " in said
    assert not (tmp_path / "run").exists()


def on_both(machine, recipe, run_dir, *options):
    """Run a recipe on both machines, which may reuse the runs next to it."""
    other, first = (machine(rank, recipe, run_dir, *options, reuses=True) for rank in (1, 0))
    code, said = first.finish()
    assert code == 0, said + logs_of(run_dir)
    code, said_by_other = other.finish(20)
    assert code == 0, said_by_other
    return Finished(run_dir, said)


def test_the_machines_run_only_the_stages_that_are_not_reused(machine, recipe, tmp_path):
    trained = run_to_the_end(recipe, tmp_path / "trained")  # on one machine: the same global batch
    beams = on_both(machine, recipe, tmp_path / "beams", *layout(**{"generation.num_beams": 2}))
    assert beams.started == ["predict"]
    assert "train  reused from " in beams.said
    plain = on_both(machine, recipe, tmp_path / "plain", *layout(**{"evaluation.use_stemmer": "false"}))
    assert plain.started == []
    assert plain.texts == trained.texts
