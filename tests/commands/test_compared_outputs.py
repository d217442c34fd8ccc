"""A comparison scores files of outputs as systems, once, and before it runs a recipe.

The processes that would predict are replaced by one that writes what they write.
"""

import io
import json

import pytest
from faked_stages import STAGES, RecordingDisplay

from summtune.base.console import SafeConsole
from summtune.base.errors import DataError, RunDirectoryError, StageError
from summtune.base.files import read_json, write_json
from summtune.commands import compare, compared_outputs, pipeline
from summtune.commands.compare import run_comparison
from summtune.commands.dry_run import print_scoring
from summtune.commands.report import write_report
from summtune.commands.run import show_plan
from summtune.plan.draft import ScoredDraft
from summtune.plan.plan import read_plan
from summtune.plan.resolve import resolve
from summtune.runs.finished import read_comparison
from summtune.runs.run_directory import mark_complete


@pytest.fixture
def launched(monkeypatch):
    """Replace the workers; the record holds the run directory of each launch."""
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    record = []

    def run_processes(launch, run_dir, stages, listener):
        record.append(run_dir.name.rsplit("-", 1)[0])
        (run_dir / "logs").mkdir(exist_ok=True)
        for stage in stages:
            STAGES[stage](run_dir)
            mark_complete(run_dir, stage)

    monkeypatch.setattr(pipeline, "run_processes", run_processes)
    return record


@pytest.fixture
def theirs(project, launched):
    """A comparison of a prompted model with the outputs of another system, one of which is empty; return their file."""
    path = project / "theirs.jsonl"
    texts = [f"test {n} is free." if n else "" for n in range(6)]
    rows = [{"nr": f"test_{n}", "text": text} for n, text in enumerate(texts)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in reversed(rows)))
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes:\n  - prompt.yaml\n"
        "  - {name: Theirs (published), predictions: theirs.jsonl, prediction_field: text, id_field: nr}\n"
        "baseline: Theirs (published)\n"
    )
    return path


def run(project, *sets, fresh=False, into="out"):
    display = RecordingDisplay()
    draft = resolve(project / "both.yaml", sets, project / into)
    run_dir = run_comparison(draft, display, fresh)
    (outputs,) = (part for _, part in draft.parts if isinstance(part, ScoredDraft))
    return run_dir, outputs.run_dir, display


def test_outputs_are_a_system_under_the_protocol_of_the_recipes(project, theirs):
    run_dir, outputs, display = run(project, "evaluation.references=max", "evaluation.metrics=[rouge1]")
    comparison = read_json(run_dir / "comparison.json")
    assert [(each["name"], each["kind"]) for each in comparison["systems"]] == [
        ("prompt", "prompt"),
        ("Theirs (published)", "scored"),
    ]
    assert (comparison["baseline"], comparison["n"]) == ("Theirs (published)", 6)
    assert comparison["protocol"]["references"] == "max"
    assert comparison["systems"][1]["metrics"]["rouge1"]["value"] == pytest.approx(5 / 6)
    assert comparison["systems"][1]["cost"]["money"] is None
    plan = read_plan(outputs)
    assert (plan.kind, plan.name, plan.recipe.predictions) == ("scored", "Theirs (published)", str(theirs))
    assert (plan.recipe.prediction_field, plan.recipe.id_field) == ("text", "nr")
    assert outputs.parent == run_dir / "systems"
    assert [name for name, _ in display.stages][:2] == ["Theirs (published)", "data"]
    assert "6 predictions matched" in display.stages[2][1]


def test_outputs_that_are_complete_are_not_scored_again(project, theirs, monkeypatch):
    run(project)
    monkeypatch.setattr(compared_outputs, "write_scored", lambda *_: pytest.fail("they were scored again"))
    _, _, display = run(project)
    assert ("evaluate", "already complete") in display.stages


def test_a_changed_file_is_scored_again_and_nothing_else_runs(project, theirs, launched):
    run_dir, first, _ = run(project)
    theirs.write_text(theirs.read_text().replace("is free", "is not free"))
    with pytest.raises(RunDirectoryError, match="contains another run"):
        run(project)
    run_dir, second, _ = run(project, into="again")
    assert first.name != second.name
    assert launched == ["prompt"]
    assert read_json(run_dir / "comparison.json")["systems"][1]["metrics"]["rouge1"]["value"] < 5 / 6


def test_a_changed_file_is_scored_beside_the_run_that_is_complete(project, theirs, launched):
    def below_outputs():
        draft = resolve(project / "both.yaml")
        return run_comparison(draft, RecordingDisplay()), draft.parts[1][1].run_dir

    one = below_outputs()
    theirs.write_text(theirs.read_text().replace("is free", "is not free"))
    other = below_outputs()
    assert launched == ["prompt"]
    assert all(a != b for a, b in zip(one, other, strict=True))
    assert other[1].parent == project / "outputs"


def test_fresh_scores_outputs_again(project, theirs):
    _, outputs, _ = run(project)
    write_json(outputs / "metrics.json", {})
    run(project, fresh=True)
    assert read_json(outputs / "metrics.json")["n"] == 6


@pytest.mark.parametrize("lost", ["predictions.jsonl", "metrics.json", "per_example.jsonl", "stages/evaluate.json"])
def test_what_a_kill_left_incomplete_is_scored_again(project, theirs, lost):
    _, outputs, _ = run(project)
    before = read_json(outputs / "metrics.json")
    (outputs / lost).unlink()
    run(project)
    assert (outputs / lost).is_file()
    assert read_json(outputs / "metrics.json") == before


def test_another_version_of_summtune_writes_the_report_again_and_keeps_the_scores(project, theirs, monkeypatch):
    _, outputs, _ = run(project)
    scored = (outputs / "metrics.json").stat().st_mtime_ns
    (outputs / "report.html").write_text("old")
    mark_complete(outputs, "report", "0.0.1")
    run(project)
    assert (outputs / "metrics.json").stat().st_mtime_ns == scored
    assert (outputs / "report.html").read_text() != "old"
    _, _, display = run(project)
    assert ("report", "already complete") in display.stages


def test_outputs_that_do_not_fit_end_the_command_before_a_model_runs(project, theirs, launched, everything_in):
    draft = resolve(project / "both.yaml", output_dir=project / "out")
    theirs.write_text(theirs.read_text().replace("test_3", "test_33"))  # as if the data were fetched only now
    before = everything_in(project)
    with pytest.raises(DataError, match="1 missing: test_3; 1 foreign: test_33"):
        run_comparison(draft, RecordingDisplay())
    assert launched == []
    assert everything_in(project) == before


def test_references_in_place_of_outputs_are_a_warning(project, theirs, everything_in):
    text = (project / "both.yaml").read_text()
    (project / "both.yaml").write_text(
        text.replace("theirs.jsonl, prediction_field: text, id_field: nr", "test.jsonl, prediction_field: summary")
    )
    run_dir, _, _ = run(project)
    warning = "Outputs that equal a reference: Theirs (published) 6 of 6; they may be the references"
    assert warning in "".join(read_comparison(run_dir).comparison.warnings)


def test_a_failed_recipe_does_not_lose_the_scores(project, theirs, monkeypatch):
    def fail(*_):
        raise StageError("the predict stage failed: as planned")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "run_processes", fail)
        with pytest.raises(StageError):
            run(project)
    monkeypatch.setattr(compared_outputs, "write_scored", lambda *_: pytest.fail("they were scored again"))
    assert (run(project)[0] / "report.html").is_file()


def test_outputs_are_scored_while_the_jobs_of_the_recipes_wait(project, theirs, monkeypatch):
    detached = []
    monkeypatch.setattr(compare, "run", lambda part, display, fresh, detach, others: detached.append(detach))
    draft = resolve(project / "both.yaml", output_dir=project / "out")
    assert run_comparison(draft, RecordingDisplay(), detach=True) is None
    assert detached == [True]
    assert compared_outputs.is_scored(draft.parts[1][1])


def test_the_reports_can_be_written_again(project, theirs, capsys):
    run_dir, outputs, _ = run(project)
    for folder in (run_dir, outputs):
        (folder / "report.html").unlink()
        write_report(folder, folder / "chart.png")
        assert "Theirs (published)" in (folder / "report.html").read_text()
    assert "| Theirs (published) | – |" in (run_dir / "report.md").read_text()


def test_a_dry_run_says_what_is_scored_and_whether_it_was(project, theirs, capsys):
    show_plan(project / "both.yaml", [], project / "out")
    printed = capsys.readouterr().out
    assert "systems  prompt, Theirs (published)" in printed
    assert "Theirs (published)  kind: scored" in printed
    assert not (project / "out").exists()
    _, outputs, _ = run(project)
    draft = resolve(project / "both.yaml", output_dir=project / "out").parts[1][1]
    for fresh, stages in ((False, "already complete"), (True, "evaluate → report")):
        console = SafeConsole(file=io.StringIO(), width=60)
        print_scoring(draft, console, fresh)
        lines = dict(line.strip().split("  ", 1) for line in console.file.getvalue().splitlines()[1:])
        assert lines == {
            "run directory": str(outputs),
            "stages": stages,
            "predictions": str(theirs),
            "columns": "prediction_field text, id_field nr",
            "scored on": f"6 predictions matched with the dialogues of {project / 'test.jsonl'} by id",
        }


def test_outputs_under_two_names_are_two_systems_that_wrote_the_same(project, theirs):
    text = (project / "both.yaml").read_text()
    again = "  - {name: Copy, predictions: theirs.jsonl, prediction_field: text, id_field: nr}\n"
    (project / "both.yaml").write_text(text.replace("baseline", f"{again}baseline"))
    draft = resolve(project / "both.yaml", output_dir=project / "out")
    run_dir = run_comparison(draft, RecordingDisplay())
    comparison = read_json(run_dir / "comparison.json")
    assert [each["name"] for each in comparison["systems"]] == ["prompt", "Theirs (published)", "Copy"]
    assert any("Theirs (published)" in text and "Copy" in text for text in comparison["warnings"])
