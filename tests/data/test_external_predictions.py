"""Reading of external predictions, and the messages for unusable ones."""

import io
import json
import os
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from summtune.base.errors import DataError
from summtune.data import external_predictions as module
from summtune.data.external_predictions import (
    GivenRows,
    PredictionColumns,
    read_external_predictions,
    reference_columns,
    with_texts,
)

ROW = {"id": 7, "dialogue": "A: Hi.", "prediction": "They greet.", "references": ["A greeting.", "Hi."]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file in the current folder and return its name: bytes, text, or rows in the format of its ending."""
    monkeypatch.chdir(tmp_path)

    def make(name, content):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".parquet"):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
        elif name.endswith(".json"):
            path.write_text(json.dumps(content))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return name

    return make


def read(name, with_references=True, **columns):
    return read_external_predictions(name, PredictionColumns(**columns), with_references=with_references)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_predictions_are_read_the_same_way_from_every_format(write, name):
    found = read(write(name, [ROW | {"new_tokens": 4, "truncated": False, "more": 1}]))
    (row,) = found.rows
    assert row[1:] == (
        "They greet.", "7", "A: Hi.", ("A greeting.", "Hi."), None, 4, False, None,
    )  # fmt: skip
    assert (found.have_ids, found.have_references, found.lines) == (True, True, False)
    assert "more" in found.columns


def test_token_counts_in_a_csv_are_ignored(write):
    text = 'id,prediction,summary,truncated\n1,"They\ngreet, both.",A greeting.,no\n2,,Hi.,yes\n'
    first, second = read(write("a.csv", text)).rows
    assert (first.id, first.prediction, first.references) == ("1", "They\ngreet, both.", ("A greeting.",))
    assert (second.prediction, second.truncated) == ("", None)


@pytest.mark.parametrize(
    "content", [b"one\ntwo\n\nfour", b"one\r\ntwo\r\n\r\nfour\r\n", b"\xef\xbb\xbfone\ntwo\n\nfour\n"]
)
def test_plain_text_has_one_prediction_per_line_including_blank_ones(write, content):
    found = read(write("a.txt", content))
    assert [row.prediction for row in found.rows] == ["one", "two", "", "four"]
    assert (found.lines, found.have_ids, found.have_references) == (True, False, False)


def test_only_a_line_feed_ends_a_line(write):
    (row,) = read(write("a.out", "one\u2028two\x0bthree\x85four\n")).rows
    assert row.prediction == "one\u2028two\x0bthree\x85four"


def test_standard_input_is_plain_text(monkeypatch):
    monkeypatch.setattr(module.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one\ntwo\n")))
    found = read("-")
    assert [str(row.position) for row in found.rows] == ["standard input, line 1", "standard input, line 2"]


@pytest.mark.parametrize(
    ("row", "columns", "references"),
    [
        ({"reference": "a"}, {}, ("a",)),
        ({"summary": "a"}, {}, ("a",)),
        ({"references": "a"}, {}, ("a",)),
        ({"s1": "a", "s2": "b", "summary": "c"}, {"summaries": ("s1", "s2")}, ("a", "b")),
        ({"gold": "a"}, {}, None),
    ],
)
def test_references_are_read_from_the_default_or_chosen_column(write, row, columns, references):
    (found,) = read(write("a.jsonl", [{"prediction": "x"} | row]), **columns).rows
    assert found.references == references


def test_a_prediction_column_called_summary_is_not_read_as_references(write):
    (found,) = read(write("a.jsonl", [{"summary": "x", "id": "1"}]), prediction="summary").rows
    assert (found.prediction, found.references) == ("x", None)


def test_the_first_existing_id_column_is_used(write):
    name = write("a.jsonl", [{"prediction": "x", "id": 1, "fname": "test_1"}])
    assert read(name, ids=("fname", "id")).rows[0].id == "test_1"
    assert read(name, ids=("name", "id")).rows[0].id == "1"
    assert read(name, ids=("name",)).rows[0].id is None


def test_references_in_the_file_are_ignored_if_they_come_from_a_data_set(write):
    name = write("a.jsonl", [{"prediction": "x", "references": None, "reference": 3}])
    assert read(name, with_references=False).rows[0].references is None


GOOD = '{"prediction": "x", "reference": "y", "id": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", r"^a.jsonl contains no predictions \(got an empty file\); write one per row"),
        ("a.csv", "", r"^a.csv is empty \(got no header\)"),
        ("a.csv", "prediction\n", r"^a.csv contains no predictions \(got an empty file\)"),
        ("a.txt", "", r"^a.txt contains no predictions \(got an empty file\); write one per line"),
        (
            "a.jsonl",
            '{"predictions": "x", "id": 1}\n',
            r"^a.jsonl, line 1: no column prediction, did you mean predictions\? \(got columns: predictions, id\); "
            "name the column of predictions with --prediction-field",
        ),
        ("a.jsonl", GOOD + '{"prediction": "x", "ref', r"^a.jsonl, line 2: not JSON \(got Unterminated string"),
        ("a.jsonl", '{"prediction"', r"^a.jsonl, line 1: not JSON"),
        ("a.jsonl", GOOD + '{"prediction": 3}\n', r"^a.jsonl, line 2: prediction must be a string \(got a number\)"),
        ("a.jsonl", GOOD + '{"prediction": null}\n', r"^a.jsonl, line 2: prediction must be a string \(got null\)"),
        (
            "a.jsonl",
            GOOD + '{"reference": "y"}\n',
            r"^a.jsonl, line 2: no column prediction \(got columns: reference\)",
        ),
        ("a.jsonl", GOOD + '{"prediction": "x", "id": 2}\n', r"^a.jsonl, line 2: no column reference"),
        ("a.jsonl", GOOD + '{"prediction": "x", "reference": "y"}\n', r"^a.jsonl, line 2: no column id"),
        ("a.jsonl", '{"prediction": "x", "reference": " "}\n', r"line 1: reference is empty \(got only white space\)"),
        (
            "a.jsonl",
            '{"prediction": "x", "references": []}\n',
            r"line 1: references is empty \(got an empty list\)",
        ),
        (
            "a.jsonl",
            '{"prediction": "x", "references": [1]}\n',
            r"item 1 of references must be a string \(got a number",
        ),
        (
            "a.jsonl",
            '{"prediction": "x", "prediction": ""}\n',
            r"line 1: not readable JSON \(got duplicate key 'prediction' in one object",
        ),
        (
            "a.csv",
            "id,prediction,id\n1,x,2\n",
            r"^a.csv has duplicate column names \(got id, prediction, id\); rename one",
        ),
        (
            "a.csv",
            "prediction,references\nx,\"['y', 'z']\"\n",
            r"^a.csv, record 1 \(line 2\): references is a list written as text \(got \['y', 'z'\]…\); use .jsonl",
        ),
        (
            "a.jsonl",
            '{"prediction": "x", "summary": "y", "reference": "z"}\n',
            r"^a.jsonl, line 1: several columns may contain the references \(got reference, summary\); choose with",
        ),
        (
            "a.jsonl",
            '{"prediction": "x"}\n{"prediction": "x", "id": "1"}\n',
            r"^a.jsonl, line 2: it has an id, but the first row has none \(got column id\); give every row its id",
        ),
        ("a.jsonl", '{"prediction": "x", "truncated": 0}\n', r"truncated must be true, false or null \(got a number\)"),
        (
            "a.jsonl",
            '{"prediction": "x", "new_tokens": -1}\n',
            r"new_tokens must be a whole number or null \(got a num",
        ),
        ("a.jsonl", '{"prediction": "\\ud83d"}\n', r"prediction contains half of a surrogate pair \(got '\\ud83d'"),
        ("a.jsonl", b'{"prediction": "caf\xe9"}\n', r"^a.jsonl, line 1: not UTF-8 \(got byte 0xe9 at offset 19\)"),
        ("a.txt", b"x\ncaf\xe9\n", r"^a.txt, line 2: not UTF-8 \(got byte 0xe9\); convert it"),
        ("a.txt", GOOD, r"^a.txt, line 1: a JSON object instead of plain text \(got .*\); put it in a .jsonl file"),
        ("a.txt.gz", b"\x1f\x8b", r"compressed files are not supported \(got .*a.txt.gz\); decompress it first"),
    ],
)
def test_unusable_predictions_are_reported_with_their_position(write, name, content, message):
    with pytest.raises(DataError, match=message):
        read(write(name, content))


def test_plain_text_may_start_with_a_brace(write):
    assert [row.prediction for row in read(write("a.txt", "{smiles} Hi.\n{}x\n")).rows] == ["{smiles} Hi.", "{}x"]


def test_several_bad_rows_are_reported_at_once(write):
    name = write("a.jsonl", GOOD + '{"prediction": 3, "id": 2}\n' * 7)
    with pytest.raises(DataError, match=r"^cannot use 7 rows, the first 5:") as caught:
        read(name)
    assert str(caught.value).count("\n") == 5


def test_a_prediction_column_for_plain_text_is_refused(write):
    with pytest.raises(DataError, match=r"plain text has no columns \(got --prediction-field output for a.txt\)"):
        read(write("a.txt", "x\n"), prediction="output")


def test_a_missing_predictions_file_is_reported(write, tmp_path):
    write("outputs.txt", "x\n")
    with pytest.raises(DataError, match=r"no such file or folder \(got .*output.txt\), did you mean outputs.txt\?"):
        read("output.txt")
    with pytest.raises(DataError, match=r"no such file or folder \(got .*nowhere.jsonl\)"):
        read("nowhere.jsonl")
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match=r"predictions are a file \(got the folder .*run\); give the file in it"):
        read("run")
    (tmp_path / "run" / "predictions.jsonl").touch()
    with pytest.raises(DataError, match=r"got the folder .*run\); give .*/run/predictions.jsonl"):
        read("run")
    (tmp_path / "run.jsonl").mkdir()
    with pytest.raises(DataError, match=r"predictions are a file \(got the folder .*run.jsonl\); give the file in it"):
        read("run.jsonl")


@pytest.mark.parametrize("name", ["a.xlsx", "A.XLS", "a.ods", "a.docx", "a.pdf"])
def test_an_office_document_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(
        DataError, match=rf"this format is not supported \(got .*{name}, extension .*\); save it as .csv"
    ):
        read_external_predictions(str(tmp_path / name), PredictionColumns(), with_references=False)


def test_lines_are_read_from_a_shells_pipe_but_not_from_a_named_pipe(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    os.close(writing)
    outputs = read_external_predictions(f"/dev/fd/{reading}", PredictionColumns(), with_references=False)
    os.close(reading)
    assert [row.prediction for row in outputs.rows] == ["one", "two"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"predictions are not read from a named pipe \(got .*pipe\); write them to a"):
        read_external_predictions(str(tmp_path / "pipe"), PredictionColumns(), with_references=False)


def test_a_file_that_may_not_be_read_is_reported(write, monkeypatch):
    name = write("a.txt", "x\n")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a.txt cannot be read \(got Permission denied\); check the file"):
        read(name)


def test_a_missing_reference_column_is_not_an_error():
    assert reference_columns(["gold"], "a.jsonl") == ()


def test_rows_of_a_program_are_read_like_those_of_a_file():
    rows = ({"prediction": "One.", "id": 7, "new_tokens": 3}, {"prediction": "Two.", "id": 8, "new_tokens": None})
    outputs = read_external_predictions(GivenRows(rows), PredictionColumns(), with_references=True)
    assert [(row.prediction, row.id, row.new_tokens) for row in outputs.rows] == [("One.", "7", 3), ("Two.", "8", None)]
    assert (outputs.columns, outputs.lines) == (("prediction", "id", "new_tokens"), False)
    with pytest.raises(DataError, match=r"predictions, item 2: .*prediction"):
        read_external_predictions(
            GivenRows(({"prediction": ""}, {"prediction": None})), PredictionColumns(), with_references=True
        )


def test_references_and_dialogues_of_a_program_replace_those_of_the_rows():
    rows = GivenRows(
        (
            {"prediction": "One.", "summary": "1.", "dialogue": "A: 1."},
            {"prediction": "Two.", "summary": "2.", "dialogue": ""},
        )
    )
    outputs = read_external_predictions(rows, PredictionColumns(), with_references=False)
    given = with_texts(outputs, [["First."], ["Second.", "2nd."]], None)
    assert [(row.references, row.dialogue) for row in given.rows] == [
        (("First.",), "A: 1."),
        (("Second.", "2nd."), ""),
    ]
    assert [row.dialogue for row in with_texts(outputs, None, ["B: 1.", "B: 2."]).rows] == ["B: 1.", "B: 2."]
    with pytest.raises(DataError, match=r"references differs from that of predictions \(got 1 for 2\)"):
        with_texts(outputs, [["First."]], None)
