"""`summtune evaluate`: predictions and references, the protocol, and what it writes."""

import json
from pathlib import Path

import pytest

from summtune.base.errors import DataError, InputError, RecipeError, RunDirectoryError
from summtune.base.files import read_json, read_jsonl, write_json, write_jsonl
from summtune.commands.evaluate import Call, check_place, score, score_outputs, write_scored
from summtune.data.reading import read_dialogues
from summtune.evaluator.comparison import compare
from summtune.evaluator.systems import read_system
from summtune.recipe.sections import DatasetSource
from summtune.runs.records import Prediction
from summtune.runs.run_directory import read_predictions

DIALOGSUM = [
    {
        "fname": f"test_{i}",
        "dialogue": f"#Person1#: Hi {i}.",
        "summary1": f"They greet {i}.",
        "summary2": "Hello there.",
    }
    for i in range(4)
]
OUTPUTS = [f"They greet {i}." for i in range(4)]
COLUMNS = {"references": "test.jsonl", "id_field": "fname", "summary_fields": ("summary1", "summary2")}
FEW = ("bootstrap_samples=100",)


@pytest.fixture
def messages():
    return []


@pytest.fixture
def scored(project, messages):
    """Score a call in a folder with DialogSum-like data, its outputs as lines and as rows."""
    write_jsonl(project / "test.jsonl", DIALOGSUM)
    (project / "out.txt").write_text("".join(f"{text}\n" for text in OUTPUTS))
    rows = [{"fname": f"test_{i}", "prediction": text} for i, text in enumerate(OUTPUTS)]
    write_jsonl(project / "out.jsonl", rows[::-1])
    write_jsonl(project / "own.jsonl", [row | {"references": ["They greet."]} for row in rows])

    def run(file="out.txt", sets=FEW, **given):
        return score(Call(file=file, sets=sets, **given), messages.append)

    return run


def test_lines_and_rows_with_a_data_set_have_the_same_scores(scored, messages, project):
    lines, rows = scored(**COLUMNS), scored("out.jsonl", **COLUMNS)
    assert lines.predictions == rows.predictions
    assert lines.predictions[1] == Prediction(
        "test_1", "#Person1#: Hi 1.", "They greet 1.", ("They greet 1.", "Hello there.")
    )
    assert lines.evaluation.scores.to_json() == rows.evaluation.scores.to_json()
    assert lines.evaluation.scores.metrics["rouge1"].value == pytest.approx(0.5)
    assert (lines.name, lines.scoring.predictions, lines.scoring.references) == (
        "out",
        str(project / "out.txt"),
        str(project / "test.jsonl"),
    )
    assert messages == [
        f"4 predictions matched with the dialogues of {project / 'test.jsonl'} by {how}" for how in ("order", "id")
    ]


def test_the_id_column_of_the_data_set_may_have_another_name(scored, messages, project):
    write_jsonl(
        project / "ids.jsonl", [{"nr": f"test_{i}", "prediction": text} for i, text in enumerate(OUTPUTS)][::-1]
    )
    found = scored("ids.jsonl", **(COLUMNS | {"id_field": "nr", "reference_id_field": "fname"}))
    assert [one.prediction for one in found.predictions] == OUTPUTS
    with pytest.raises(
        InputError, match=r"test.jsonl has no column nr \(got columns: fname, .*\); name .* with --reference-id-field"
    ):
        scored("ids.jsonl", **(COLUMNS | {"id_field": "nr"}))
    with pytest.raises(InputError, match=r"ids.jsonl has no column fnam \(got columns: nr, prediction\)"):
        scored("ids.jsonl", **(COLUMNS | {"id_field": "fnam", "reference_id_field": "fname"}))
    with pytest.raises(DataError, match=r"test.jsonl, line 1, .* no column fnam, did you mean fname\?"):
        scored("ids.jsonl", **(COLUMNS | {"id_field": "nr", "reference_id_field": "fnam"}))


@pytest.mark.parametrize(
    ("given", "option"),
    [({"reference_id_field": "x"}, "--reference-id-field x"), ({"skip_empty": True}, "--skip-empty")],
)
def test_an_option_of_the_data_set_is_refused_without_one(scored, given, option):
    name = option.partition(" ")[0]
    with pytest.raises(InputError, match=rf"{name} needs --references \(got {option} alone\)"):
        scored("own.jsonl", **given)


def test_skip_empty_skips_empty_rows_of_the_data_set(scored, messages, project):
    write_jsonl(project / "test.jsonl", [*DIALOGSUM, {"fname": "e", "dialogue": "", "summary1": "x", "summary2": "y"}])
    with pytest.raises(DataError, match=r"line 5: dialogue is empty .* or skip such rows with `on_empty: skip`"):
        scored(**COLUMNS)
    assert len(scored(**COLUMNS, skip_empty=True).predictions) == 4
    assert messages[-2] == f"skipped 1 empty row of {project / 'test.jsonl'} (on_empty: skip)"


def test_dialogues_with_two_ids_are_reported(scored, messages, project):
    twice = [*DIALOGSUM, DIALOGSUM[0] | {"fname": "again", "summary1": "Another."}]
    write_jsonl(project / "test.jsonl", twice)
    scored(**COLUMNS)
    path = project / "test.jsonl"
    assert messages[0] == (
        f"{path}: 1 row repeats a dialogue under another id (again of {path}, line 5 repeats test_0 of {path}, line 1)"
        "; their references count for that dialogue"
    )
    own = [{"id": i, "dialogue": "A: Hi.", "prediction": "Hi.", "reference": "Hi."} for i in ("a", "b")]
    write_jsonl(project / "own.jsonl", own)
    scored("own.jsonl")
    assert messages[-1] == (
        "own.jsonl: 1 row repeats a dialogue under another id (b of own.jsonl, line 2 repeats a of own.jsonl, line 1); "
        "each is scored as a separate dialogue"
    )


def test_the_dialogue_column_of_the_data_set_may_have_another_name(scored, project):
    rows = [{"text": row["dialogue"], "summary": row["summary1"]} for row in DIALOGSUM]
    write_jsonl(project / "test.jsonl", rows)
    outputs = [{"dialogue": row["dialogue"], "prediction": text} for row, text in zip(DIALOGSUM, OUTPUTS, strict=True)]
    write_jsonl(project / "rows.jsonl", outputs)
    assert len(scored("rows.jsonl", references="test.jsonl", dialogue_field="text").predictions) == 4


def test_rows_with_references_need_no_data_set(scored, messages):
    found = scored("own.jsonl")
    assert [one.id for one in found.predictions] == ["row_0", "row_1", "row_2", "row_3"]
    assert scored("own.jsonl", id_field="fname").predictions[0].id == "test_0"
    assert (found.scoring.references, messages) == (None, [])


def test_rows_in_the_format_of_a_run_are_a_data_set(scored, project):
    rows = [
        dialogue.to_json() for dialogue in read_dialogues([DatasetSource(path="builtin/dialogues")], "test").dialogues
    ]
    write_jsonl(project / "data.jsonl", rows[:3])
    write_jsonl(project / "mine.jsonl", [{"id": row["id"], "prediction": row["references"][0]} for row in rows[2::-1]])
    found = scored("mine.jsonl", references="data.jsonl")
    assert [one.references for one in found.predictions] == [tuple(row["references"]) for row in rows[:3]]


def test_references_can_be_a_folder_or_the_builtin_data_set(scored, project):
    (project / "talks").mkdir()
    write_jsonl(project / "talks" / "dev.jsonl", DIALOGSUM)
    given = COLUMNS | {"references": "talks"}
    assert len(scored(**given, split="dev").predictions) == 4
    with pytest.raises(DataError, match=r"talks has no split test \(got splits: dev\)"):
        scored(**given)
    with pytest.raises(
        DataError, match=r"out.txt has 4 lines, and builtin/dialogues has 200 dialogues \(got 196 too few\)"
    ):
        scored(references="builtin/dialogues")


def test_repeated_references_are_reported(scored, messages, project):
    write_jsonl(project / "test.jsonl", [row | {"summary2": row["summary1"]} for row in DIALOGSUM])
    scored(**COLUMNS)
    assert messages[0] == f"4 repeated references in {project / 'test.jsonl'}; each counts once"


def test_settings_change_the_protocol_as_in_a_recipe(scored):
    best = scored(**COLUMNS, sets=(*FEW, "references=max", "evaluation.metrics=[rouge1]")).evaluation
    assert best.scores.metrics["rouge1"].value == 1
    assert list(best.scores.metrics) == ["rouge1"]
    assert (best.scores.protocol.references, best.scores.protocol.bootstrap.samples) == ("max", 100)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("use_stemer=false", "unknown key 'use_stemer' in evaluation, did you mean use_stemmer"),
        ("metrics=rouge1", r"evaluation.metrics must be a list \(got 'rouge1'\)"),
        ("confidence=2", r"evaluation.confidence must be below 1.0 \(got 2\)"),
        (
            "metric_arguments={bleu: {}}",
            r"metric_arguments for a metric that evaluation.metrics does not list \(got 'bleu'\)",
        ),
    ],
)
def test_a_wrong_setting_is_reported_as_in_a_recipe(scored, setting, message):
    with pytest.raises(RecipeError, match=rf"^--set evaluation.{setting[:6]}.*: {message}"):
        scored(**COLUMNS, sets=(setting,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            r"^out.txt contains no references \(got plain text\); name the data set .* with --references$",
        ),
        (
            {"file": "out.jsonl"},
            r"out.jsonl contains no references \(got columns: fname, prediction\); name .*, or their column",
        ),
        ({"split": "dev"}, r"--split needs --references \(got --split dev alone\)"),
        (COLUMNS | {"split": "dev"}, r"--references test.jsonl: split has no effect for a single file \(got 'dev' for"),
        ({"references": "./nowhere.jsonl"}, r"--references ./nowhere.jsonl: no data set at this path \(got ./nowhere"),
        (COLUMNS | {"id_field": "name"}, r"no column name, did you mean fname\?"),
        (
            {"references": "test.jsonl"},
            r"test.jsonl, line 1, and 3 more rows: no column summary, did you mean summary1",
        ),
        ({"references": "test.jsonl", "file": "out.jsonl", "summary_fields": ("summary1",)}, "have neither ids nor"),
        (
            {"recipe": Path("both.yaml")},
            r"a comparison has no evaluation section \(got --recipe both.yaml\); name one of its",
        ),
        ({"recipe": Path("nowhere.yaml")}, r"no recipe at this path \(got nowhere.yaml\)"),
    ],
)
def test_outputs_that_cannot_be_scored_are_refused(scored, given, message):
    with pytest.raises(InputError, match=message):
        scored(**given)


def test_the_settings_and_the_test_data_of_a_recipe_are_used(scored, project):
    (project / "mine.yaml").write_text(
        "kind: prompt\nbase_model: ./model\n"
        "test_datasets: [{path: test.jsonl, id_field: fname, summary_field: [summary1, summary2]}]\n"
        "evaluation: {metrics: [rouge1], references: max, bootstrap_samples: 100}\n"
    )
    for file in ("out.txt", "out.jsonl"):
        found = scored(file, recipe=Path("mine.yaml"), sets=())
        assert found.evaluation.scores.metrics["rouge1"].value == 1
        assert found.scoring.references == str(project / "test.jsonl")
    assert scored("own.jsonl", recipe=Path("mine.yaml")).scoring.references is None
    assert (
        scored(**COLUMNS, recipe=Path("mine.yaml"), sets=("references=mean",)).evaluation.scores.metrics["rouge1"].value
        < 1
    )
    (project / "mine.yaml").write_text((project / "mine.yaml").read_text().replace("test.jsonl", "tset.jsonl"))
    with pytest.raises(RecipeError, match=r"mine.yaml:3:.*no data set at this path \(got tset.jsonl"):
        scored(recipe=Path("mine.yaml"))


def test_written_scores_can_be_compared_with_runs(scored, project):
    first = scored(**COLUMNS, name="The others")
    write_scored(first, project / "others")
    plan = read_json(project / "others" / "plan.json")
    assert (plan["kind"], plan["name"], len(plan["identity"])) == ("scored", "The others", 64)
    assert plan["recipe"]["evaluation"]["bootstrap_samples"] == 100
    assert plan["recipe"]["predictions"] == str(project / "out.txt")
    assert plan["recipe"]["references"] == str(project / "test.jsonl")
    assert plan["versions"].keys() == {"summtune", "rouge_score", "sentencex", "evaluate"}
    stats = read_json(project / "others" / "prediction_stats.json")
    assert stats == {"trainable_parameters": None, "total_parameters": None}
    assert set(read_json(project / "others" / "cost.json").values()) == {None}
    assert read_predictions(project / "others" / "predictions.jsonl") == first.predictions
    assert read_json(project / "others" / "metrics.json") == first.evaluation.scores.to_json()
    assert len(list(read_jsonl(project / "others" / "per_example.jsonl"))) == 4
    assert "External predictions" in (project / "others" / "report.md").read_text()
    assert "The others" in (project / "others" / "report.html").read_text()

    (project / "out.txt").write_text("They greet.\n" * 4)
    write_scored(scored(**COLUMNS), project / "poor")
    comparison = compare([read_system(name, project / name) for name in ("poor", "others")], "poor")
    assert [system.kind for system in comparison.systems] == ["scored", "scored"]
    assert comparison.systems[0].total_parameters is None
    assert comparison.differences[0].difference > 0


def test_predictions_of_a_run_are_scored_with_its_settings(scored, messages, project):
    write_scored(scored(**COLUMNS, name="mine", sets=(*FEW, "references=max")), project / "mine")
    messages.clear()
    again = scored("mine/predictions.jsonl", sets=())
    assert (again.name, again.evaluation.scores.to_json()) == ("mine", read_json(project / "mine" / "metrics.json"))
    assert messages == ["using the evaluation settings of the run in mine"]
    write_json(project / "mine" / "plan.json", {"name": 3})
    assert scored("mine/predictions.jsonl").name == "predictions"


def test_a_directory_is_only_reused_for_the_same_outputs(scored, project, everything_in):
    write_scored(scored(**COLUMNS), project / "mine")
    write_scored(scored("out.jsonl", **COLUMNS), project / "mine")
    before = everything_in(project / "mine")
    with pytest.raises(
        RunDirectoryError, match=r"the directory contains another run \(got .*mine: out-\w{8}, this one"
    ):
        write_scored(scored(**COLUMNS, sets=(*FEW, "use_stemmer=false")), project / "mine")
    assert everything_in(project / "mine") == before


def test_a_directory_with_other_content_is_refused_before_scoring(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match="contains something that is not a summtune run"):
        check_place(tmp_path)


def test_a_failure_while_writing_leaves_nothing(scored, project, monkeypatch):
    found = scored(**COLUMNS)
    monkeypatch.setattr("summtune.commands.evaluate.write_evaluation", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_scored(found, project / "new" / "mine")
    assert not (project / "new").exists()


def test_hub_data_is_read_with_the_columns_of_recipes(scored, monkeypatch):
    seen = []

    def read(sources, split):
        seen.append((sources, split))
        raise DataError("offline")

    monkeypatch.setattr("summtune.commands.evaluate.read_dialogues", read)
    with pytest.raises(DataError, match="offline"):
        scored(references="owner/talks", split="dev")
    assert seen == [([DatasetSource(path="owner/talks", split="dev")], "test")]


def test_a_truncated_line_is_reported_with_its_number(scored, project):
    (project / "own.jsonl").write_text((project / "own.jsonl").read_text()[:-20])
    with pytest.raises(DataError, match=r"^own.jsonl, line 4: not JSON"):
        scored("own.jsonl")


@pytest.mark.real
def test_the_published_file_of_dialogsum_is_a_data_set(test_data, tmp_path):
    file = test_data / "data" / "dialogsum" / "test.jsonl"
    (tmp_path / "out.txt").write_text("".join(row["summary1"].replace("\n", " ") + "\n" for row in read_jsonl(file)))
    summaries = ("summary1", "summary2", "summary3")
    call = Call(str(tmp_path / "out.txt"), str(file), summary_fields=summaries, id_field="fname", sets=FEW)
    messages = []
    found = score(call, messages.append)
    assert len(found.predictions) == 500
    assert found.predictions[7].id == "test_7"
    # One of a dialogue's three references against all three: far above what any system reaches, far below 1.
    assert 0.68 < found.evaluation.scores.metrics["rouge1"].value < 0.70
    assert messages[0].startswith("10 repeated references in ")


def test_a_missing_id_column_is_refused_with_the_nearest_name(project):
    rows = [{"key": "a", "prediction": "x", "references": ["y"]}]
    write_jsonl(project / "own.jsonl", rows)
    with pytest.raises(InputError, match=r"has no column kye, did you mean key\? \(got columns: key, prediction"):
        score(Call("own.jsonl", id_field="kye"), print)


def test_only_the_data_set_needs_the_dialogue_column(project, messages):
    write_jsonl(project / "turns.jsonl", [{"id": "a", "turns": "A: Hi.", "summary": "greeting"}])
    write_jsonl(project / "preds.jsonl", [{"id": "a", "prediction": "greeting", "dialogue": ""}])
    (project / "preds.txt").write_text("greeting\n")
    for file in ("preds.jsonl", "preds.txt"):
        found = score(Call(file, references="turns.jsonl", dialogue_field="turns", sets=FEW), messages.append)
        assert found.predictions[0].dialogue == "A: Hi."


def test_references_may_be_chat_messages(project, messages):
    chat = [
        {"role": role, "content": text} for role, text in (("system", "S"), ("user", "A: Hi."), ("assistant", "Hi"))
    ]
    write_jsonl(project / "chats.jsonl", [{"id": "a", "summary": "unread", "messages": chat}])
    rows = [{"id": "a", "prediction": "Hi", "dialogue": [["A", "Hi."]]}]
    write_jsonl(project / "preds.jsonl", rows)
    for field in ({"messages_field": "messages"}, {"messages_field": "messages", "dialogue_field": "dialogue"}):
        found = score(Call("preds.jsonl", references="chats.jsonl", sets=FEW, **field), messages.append)
        assert found.predictions[0] == Prediction("a", "A: Hi.", "Hi", ("Hi",))
    assert f"system messages are not part of the dialogue (got 1 row of {project / 'chats.jsonl'})" in messages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"--messages-field needs --references \(got --messages-field chat alone\)"),
        (
            {"references": "x.jsonl", "summary_fields": ("s",)},
            r"--summary-field has no effect with --messages-field \(got s and chat\); leave one out",
        ),
    ],
)
def test_a_messages_field_that_does_not_fit_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        score(Call("out.jsonl", messages_field="chat", **options), print)


def test_the_scores_use_the_tokenizer_of_the_call(scored, project):
    rows = [{"prediction": "Он пришёл", "references": ["Он пришёл домой"], "dialogue": "A: Привет."}]
    write_jsonl(project / "russian.jsonl", rows)
    assert scored("russian.jsonl").evaluation.scores.metrics["rouge1"].value == 0
    found = scored("russian.jsonl", (*FEW, "tokenizer=unicode")).evaluation
    assert found.scores.metrics["rouge1"].value == pytest.approx(0.8)
    assert found.scores.protocol.tokenizer == "unicode"


@pytest.fixture
def predictions(tmp_path):
    rows = [
        Prediction(str(i), "A: Hi.", f"They greet {i}." if i else "", (f"They greet {i}.", "A greeting."), 9, 4, False)
        for i in range(4)
    ]
    write_jsonl(tmp_path / "outputs.jsonl", [row.to_json() for row in rows])
    return str(tmp_path / "outputs.jsonl")


def test_scores_are_printed_with_protocol_and_warnings(predictions, capsys):
    score_outputs(Call(predictions), None, as_json=False)
    messages = capsys.readouterr()
    assert "ROUGE-1" in messages.out
    assert "4 dialogues. ROUGE F-measure × 100 by rouge_score" in messages.out
    assert "1,000 resamples" in messages.out.replace("\n", " ")
    assert "warning: 1 of 4 predictions are empty" in messages.err


def test_json_scores_are_the_only_output_on_stdout(predictions, tmp_path, capsys):
    score_outputs(Call(predictions), tmp_path / "scored", as_json=True)
    messages = capsys.readouterr()
    assert json.loads(messages.out) == read_json(tmp_path / "scored" / "metrics.json")
    assert f"report: {tmp_path / 'scored' / 'report.html'}" in messages.err


def test_a_directory_with_other_content_is_refused_before_reading(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match="contains something that is not a summtune run"):
        score_outputs(Call("nowhere.jsonl"), tmp_path, as_json=True)
