"""Results are returned and errors are raised, by the same code as the commands'."""

import pathlib

import pytest
from faked_stages import STAGES

import summtune
from summtune.base.errors import ComparisonError, DataError, InputError, RecipeError, RunDirectoryError, StageError
from summtune.commands import pipeline
from summtune.plan.plan import read_plan
from summtune.plan.resolve import resolve
from summtune.runs.run_directory import mark_complete


@pytest.fixture
def launches(monkeypatch):
    """Replace the workers, and record what they were started for."""
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    found = []

    def run_processes(launch, run_dir, stages, listener):
        found.append(tuple(stages))
        for stage in stages:
            STAGES[stage](run_dir)
            mark_complete(run_dir, stage)
        listener({"event": "warning", "stage": stages[0], "text": "read this"})

    monkeypatch.setattr(pipeline, "run_processes", run_processes)
    return found


def keys_of_a_prompt(**more):
    return {"kind": "prompt", "base_model": "./model", "test_datasets": [{"path": "test.jsonl"}], **more}


def test_a_run_returns_its_scores_predictions_and_report(project, launches, capsys):
    result = summtune.run("prompt.yaml", seed=7, generation={"num_beams": 2})
    plan = resolve(project / "prompt.yaml", ["seed=7", "generation.num_beams=2"])
    assert result.run_dir == project / "outputs" / f"prompt-{plan.identity[:8]}"
    assert result.name == "prompt"
    assert list(result.metrics) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    score = result.metrics["rouge1"]
    assert score.ci_low <= score.value <= score.ci_high
    assert [each.prediction for each in result.predictions] == ["prompt is free."] * 6
    assert (result.cost.dialogues, result.cost.generated_tokens, result.cost.money) == (6, 24, None)
    assert result.report.read_text().startswith("<!DOCTYPE html>")
    assert any("score no higher than the first three turns" in text for text in result.warnings)
    said = capsys.readouterr()
    assert said.out == ""
    assert "predict  starting 1 process" in said.err
    assert "\x1b" not in said.err


def test_a_quiet_run_prints_warnings_only(project, launches, capsys):
    summtune.run("prompt.yaml", quiet=True)
    assert capsys.readouterr().err == "  warning  read this\n"


def test_a_second_call_reuses_the_run_unless_fresh_is_set(project, launches):
    first = summtune.run("prompt.yaml")
    assert summtune.run(project / "prompt.yaml") == first
    assert launches == [("predict",)]
    summtune.run("prompt.yaml", fresh=True)
    assert launches == [("predict",), ("predict",)]


def test_a_mapping_is_the_same_run_as_the_file_with_its_keys(project, launches):
    result = summtune.run(keys_of_a_prompt(), name="mine", output_dir=pathlib.Path("here"))
    assert result.run_dir == project / "here"
    plan = read_plan(result.run_dir)
    assert (plan.name, plan.identity) == ("mine", resolve(project / "prompt.yaml").identity)
    (project / "copy.yaml").write_bytes((result.run_dir / "recipe.yaml").read_bytes())
    assert resolve(project / "copy.yaml").identity == plan.identity


def test_problems_of_a_mapping_name_its_keys(project):
    keys = keys_of_a_prompt(seed=-1, sede=2, **{"generation.num_beams": 0})
    with pytest.raises(RecipeError) as caught:
        summtune.run(keys, **{"generation.top_p": 2})
    problems = "\n".join(map(str, caught.value.problems))
    assert "prompt: seed must be at least 0 (got -1)" in problems
    assert "prompt: unknown key 'sede'" in problems
    assert "prompt: generation.num_beams must be at least 1 (got 0)" in problems
    assert "generation.top_p must be at most 1.0 (got 2)" in problems
    assert not (project / "outputs").exists()


@pytest.mark.parametrize("name", ["a/b", "..", " "])
def test_a_name_that_cannot_be_a_folder_is_refused(project, name):
    with pytest.raises(InputError, match="the name cannot be used in a folder's name"):
        summtune.run(keys_of_a_prompt(), name=name)


def test_a_name_for_a_recipe_in_a_file_is_refused(project):
    with pytest.raises(InputError, match=r"got name='mine' for prompt.yaml\); remove name"):
        summtune.run("prompt.yaml", name="mine")


def test_a_run_on_several_machines_is_refused(project, launches):
    with pytest.raises(InputError, match=r"got num_machines: 2\); use `summtune run` on each"):
        summtune.run("prompt.yaml", num_machines=2)


def test_a_failed_stage_raises_an_error(project, monkeypatch):
    def fail(*_):
        raise StageError("the predict stage failed: as it should")

    monkeypatch.setattr(pipeline, "run_processes", fail)
    with pytest.raises(StageError, match="as it should"):
        summtune.run("prompt.yaml", quiet=True)


def test_a_comparison_returns_its_systems_and_verdict(project, launches):
    comparison = summtune.run("both.yaml", baseline="prompt")
    assert list(comparison.systems) == ["prompt", "train"]
    assert comparison.baseline == "prompt"
    assert comparison.systems["train"].metrics["rouge1"].value == comparison.systems["prompt"].metrics["rouge1"].value
    difference = comparison.differences[0]
    assert (difference.a, difference.b, difference.metric, difference.difference) == ("train", "prompt", "rouge1", 0)
    assert comparison.verdict[0].startswith("train is not distinguishable from prompt")
    assert comparison.report == comparison.run_dir / "report.html"
    assert comparison.report.is_file()
    again = summtune.compare({"zero-shot": comparison.systems["prompt"], "tuned": comparison.systems["train"].run_dir})
    assert list(again.systems) == ["zero-shot", "tuned"]
    assert again.verdict[0].startswith("tuned is not distinguishable from zero-shot")
    assert (again.run_dir, again.report) == (None, None)


@pytest.mark.parametrize(
    ("runs", "got"),
    [
        ("outputs", r"a list or a mapping of runs \(got 'outputs'\); put them in a list"),
        (pathlib.Path("outputs"), r"a list or a mapping of runs \(got 'outputs'\); put them in a list"),
        ({1: "outputs/a", "b": "outputs/b"}, r"name of a run must be text \(got 1\); put it in quotes"),
    ],
)
def test_runs_that_are_not_a_list_or_named_by_text_are_refused(runs, got):
    with pytest.raises(InputError, match=got):
        summtune.compare(runs)


def test_overrides_of_a_comparison_reach_its_recipes_and_displaced_keys_are_reported(project, launches, capsys):
    (project / "train.yaml").write_text((project / "train.yaml").read_text() + "num_epochs: 2\n")
    comparison = summtune.run("both.yaml", max_steps=1)
    assert read_plan(comparison.systems["train"].run_dir).recipe.max_steps == 1
    assert "recipe  max_steps=1 displaces num_epochs of" in capsys.readouterr().err


TEXTS = ["Lucas orders soup.", "Mia has lost her keys.", ""]
REFERENCES = [["Lucas orders a soup."], ["Mia lost her keys.", "The keys are lost."], ["They say goodbye."]]


def test_texts_are_matched_with_references_by_order():
    result = summtune.evaluate(TEXTS, REFERENCES, metrics=["rouge1"], name="mine")
    assert (result.name, result.run_dir, result.report) == ("mine", None, None)
    assert list(result.metrics) == ["rouge1"]
    assert [each.references for each in result.predictions] == [tuple(each) for each in REFERENCES]
    assert [each.prediction for each in result.predictions] == TEXTS
    best = summtune.evaluate(TEXTS, REFERENCES, metrics=["rouge1"], evaluation={"references": "max"})
    assert best.metrics["rouge1"].value > result.metrics["rouge1"].value
    assert summtune.evaluate(TEXTS, REFERENCES, metrics=["rouge1"], **{"evaluation.references": "max"}) == best


def test_references_and_dialogues_can_be_lists_of_texts(tmp_path):
    result = summtune.evaluate(
        iter(TEXTS),
        (each[0] for each in REFERENCES),
        dialogues=["A: Soup.", "B: My keys!", "C: Bye."],
        output_dir=tmp_path / "scored",
    )
    assert [each.references for each in result.predictions] == [(each[0],) for each in REFERENCES]
    assert result.predictions[1].dialogue == "B: My keys!"
    assert result.report.is_file()
    with pytest.raises(RunDirectoryError, match="the directory contains another run"):
        summtune.evaluate(TEXTS[:2], REFERENCES[:2], output_dir=tmp_path / "scored")


def test_rows_are_matched_with_a_data_set_by_id(project, capsys):
    rows = [{"id": f"test_{at}", "text": f"test {at} is free."} for at in reversed(range(6))]
    result = summtune.evaluate(rows, "test.jsonl", prediction_field="text")
    assert [each.id for each in result.predictions] == [f"test_{at}" for at in range(6)]
    assert result.metrics["rouge1"].value == 1
    assert "6 predictions matched with the dialogues of" in capsys.readouterr().err


def test_a_file_is_scored_against_references_passed_as_texts(project):
    (project / "out.txt").write_text("One.\nTwo.\n")
    result = summtune.evaluate("out.txt", ["One.", "Three."], metrics=["rouge1"])
    assert result.name == "out"
    assert result.metrics["rouge1"].value == 0.5


def test_rows_can_contain_references_in_any_column():
    rows = [{"prediction": "One.", "gold": "One."}, {"prediction": "Two.", "gold": "Three."}]
    assert summtune.evaluate(rows, summary_field="gold", metrics=["rouge1"]).metrics["rouge1"].value == 0.5


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], ["One."], r"nothing to score \(got no predictions\)"),
        (["One.", "Two."], ["One."], r"references differs from that of predictions \(got 1 for 2\)"),
        (["One.", None], ["One.", "Two."], r"predictions, item 2: not a text \(got NoneType\)"),
        ([{"prediction": "One."}, "Two."], ["One.", "Two."], r"predictions, item 2: not a row \(got str\)"),
        ([{"prediction": "One."}, {"prediction": 2}], ["One.", "Two."], r"predictions, item 2: .*prediction"),
        (["One."], [["One.", 2]], r"references, item 1, item 2: not a text \(got int\)"),
        (["One."], [3], r"references, item 1: not a list of texts \(got int\)"),
        (["One."], [[]], r"a reference is missing or empty"),
        (["One."], None, r"predictions contains no references \(got plain text\)"),
    ],
)
def test_an_unusable_item_is_refused_with_its_position(predictions, references, message):
    with pytest.raises(DataError if "contains no" not in message else InputError, match=message):
        summtune.evaluate(predictions, references)


def test_a_single_text_as_dialogues_is_refused():
    with pytest.raises(DataError, match=r"dialogues: not a list of texts \(got str\)"):
        summtune.evaluate(["One."], ["One."], dialogues="A: One.")
    with pytest.raises(DataError, match=r"dialogues differs from that of predictions \(got 2 for 1\)"):
        summtune.evaluate(["One."], ["One."], dialogues=["A: One.", "B: Two."])


def test_an_unknown_key_of_the_evaluation_is_refused():
    with pytest.raises(RecipeError, match=r"unknown key 'stemmer' in evaluation"):
        summtune.evaluate(["One."], ["One."], stemmer=False)


def test_comparing_a_result_without_a_directory_is_refused(tmp_path):
    one = summtune.evaluate(TEXTS, REFERENCES, output_dir=tmp_path / "one", name="one")
    two = summtune.evaluate(TEXTS, REFERENCES, name="two")
    with pytest.raises(InputError, match=r"cannot be compared \(got two\); pass output_dir to evaluate"):
        summtune.compare([one, two])
    with pytest.raises(InputError, match=r"at least two runs \(got 1\)"):
        summtune.compare([one])
    other = summtune.evaluate(TEXTS, REFERENCES, output_dir=tmp_path / "other", name="other", use_stemmer=False)
    with pytest.raises(ComparisonError):
        summtune.compare([one, other])


def test_a_displaced_key_of_an_evaluation_section_is_reported(project, capsys):
    evaluation = "evaluation: {metrics: [rouge1, bleu], metric_arguments: {bleu: {smooth: true}}}\n"
    (project / "prompt.yaml").write_text((project / "prompt.yaml").read_text() + evaluation)
    (project / "out.txt").write_text("One.\n" * 6)
    assert list(summtune.evaluate("out.txt", recipe="prompt.yaml", metrics=["rouge1"]).metrics) == ["rouge1"]
    said = capsys.readouterr().err
    assert 'evaluation.metrics=["rouge1"] displaces evaluation.metric_arguments.bleu of prompt.yaml:4' in said
