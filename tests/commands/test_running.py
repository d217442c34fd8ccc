"""What the commands do with runs that are there, and with what is no run."""

import json

import pytest

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError, RunDirectoryError
from summtune.base.files import read_json, write_jsonl
from summtune.commands import running
from summtune.commands.evaluate import Call
from summtune.runs.records import Prediction


@pytest.fixture
def predictions(tmp_path):
    rows = [
        Prediction(str(i), "A: Hi.", f"They greet {i}." if i else "", (f"They greet {i}.", "A greeting."), 9, 4, False)
        for i in range(4)
    ]
    write_jsonl(tmp_path / "outputs.jsonl", [row.to_json() for row in rows])
    return str(tmp_path / "outputs.jsonl")


def test_scores_are_printed_with_their_protocol_and_what_to_know(predictions, capsys):
    running.score_outputs(Call(predictions), None, as_json=False)
    said = capsys.readouterr()
    assert "ROUGE-1" in said.out
    assert "4 dialogues. ROUGE F-measure × 100 by rouge_score" in said.out
    assert "1,000 resamples" in said.out.replace("\n", " ")
    assert "warning: 1 of 4 predictions are empty" in said.err


def test_scores_as_json_stand_alone_on_stdout(predictions, tmp_path, capsys):
    running.score_outputs(Call(predictions), tmp_path / "scored", as_json=True)
    said = capsys.readouterr()
    assert json.loads(said.out) == read_json(tmp_path / "scored" / "metrics.json")
    assert f"report: {tmp_path / 'scored' / 'report.html'}" in said.err


def test_a_directory_of_something_else_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match="holds something that is not a run of summtune"):
        running.score_outputs(Call("nowhere.jsonl"), tmp_path, as_json=True)


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
    ((machine, identity, _, complete),) = joined
    assert machine == running.MachineRank(1, "first", 1234)
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
    assert (others.machine.rank, others.count) == (0, 2)


def test_a_finished_run_says_what_its_report_says_on_top(predictions, tmp_path, capsys):
    running.score_outputs(Call(predictions), tmp_path / "scored", as_json=True)
    warnings = read_json(tmp_path / "scored" / "metrics.json")["diagnostics"]["warnings"]
    report = (tmp_path / "scored" / "report.md").read_text()
    capsys.readouterr()
    running._show_result(tmp_path / "scored", SafeConsole(stderr=True))
    said = capsys.readouterr().err
    assert warnings
    for warning in warnings:
        assert f"warning: {warning}\n" in said
        assert f"- {warning}" in report
