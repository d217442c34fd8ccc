"""What the commands do with runs that are there, and with what is no run."""

import json

import pytest

from summtune import running
from summtune.errors import InputError, RunDirectoryError
from summtune.files import write_jsonl
from summtune.records import Prediction


@pytest.fixture
def predictions(tmp_path):
    rows = [
        Prediction(str(i), "A: Hi.", f"They greet {i}.", (f"They greet {i}.", "A greeting."), 9, 4, False, False)
        for i in range(4)
    ]
    write_jsonl(tmp_path / "predictions.jsonl", [row.to_json() for row in rows])
    return tmp_path / "predictions.jsonl"


def test_predictions_are_scored_again(predictions, capsys):
    running.evaluate_file(predictions, as_json=True)
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["n"] == 4
    assert 0.5 < result["metrics"]["rouge1"]["value"] < 1
    running.evaluate_file(predictions, as_json=False)
    assert "ROUGE-1" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["not JSON\n", '{"id": "1"}\n', "[]\n", b"\xff\n"])
def test_what_is_no_predictions_file_is_told(tmp_path, content):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"not a predictions.jsonl of summtune \(got .*predictions.jsonl: "):
        running.evaluate_file(path, as_json=True)


def test_a_predictions_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"not a predictions.jsonl of summtune \(got .*nowhere"):
        running.evaluate_file(tmp_path / "nowhere.jsonl", as_json=True)


def test_a_comparison_needs_two_runs(tmp_path):
    with pytest.raises(InputError, match=r"a comparison needs at least two runs \(got 1\); name their directories"):
        running.compare_runs([tmp_path], as_json=True)


def test_a_comparison_of_what_is_no_run_is_told(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"is not a finished run \(got no plan.json\); give the `summtune run`"):
        running.compare_runs([tmp_path, tmp_path], as_json=True)


def test_a_report_of_what_is_no_run_is_told(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"not a run directory \(got .*\); it has no plan.json"):
        running.write_report(tmp_path, None)


def test_a_recipe_that_is_no_job_cannot_be_left_alone(project):
    with pytest.raises(
        InputError, match=r"--detach leaves a Slurm job alone \(got a recipe without `launcher: slurm`\)"
    ):
        running.run_recipe(project / "train.yaml", [], None, detach=True)
    assert not (project / "outputs").exists()


def test_several_machines_need_a_command_each(project, monkeypatch):
    monkeypatch.delenv("MACHINE_RANK", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "first")
    with pytest.raises(
        InputError, match=r"num_machines: 2 needs the same command on each machine \(got no MACHINE"
    ) as caught:
        running.run_recipe(project / "train.yaml", ["num_machines=2", "num_processes=2"], project / "out", fresh=True)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split("MACHINE_RANK=")[1] for line in lines] == [
        f"{rank} summtune run {project}/train.yaml --set num_machines=2 --set num_processes=2 "
        f"--output-dir {project}/out --fresh"
        for rank in (0, 1)
    ]
    assert not (project / "out").exists()


def test_another_machine_joins_and_prepares_nothing(project, monkeypatch, capsys):
    joined = []
    monkeypatch.setattr(running, "join", lambda *arguments: joined.append(arguments))
    for key, value in {"MACHINE_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "1234"}.items():
        monkeypatch.setenv(key, value)
    running.run_recipe(project / "train.yaml", ["num_machines=2", "num_processes=2"], project / "out")
    ((place, identity, _, complete),) = joined
    assert place == running.Place(1, "first", 1234)
    assert identity == running.resolve(project / "train.yaml", ["num_machines=2", "num_processes=2"]).plan.identity
    assert not complete()
    assert f"machine 1 is done; the result is in {project / 'out'}" in capsys.readouterr().err
    assert not (project / "out").exists()


def test_the_first_machine_runs_with_the_others(project, monkeypatch):
    came = []
    monkeypatch.setattr(running, "run", lambda *arguments: came.append(arguments))
    for key, value in {"MACHINE_RANK": "0", "MASTER_ADDR": "first"}.items():
        monkeypatch.setenv(key, value)
    running.run_recipe(project / "train.yaml", ["num_machines=2", "num_processes=2"], project / "out")
    ((*_, others),) = came
    assert (others.place.rank, others.count) == (0, 2)
