"""Inputs of `summtune summarize`, from files of every format and from pipes."""

import io
import json
import os
import sys
import threading
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from summtune.base.errors import DataError
from summtune.data.inputs import Input, read_inputs

ROWS = [{"id": "b", "dialogue": "A: one\u2028still one"}, {"id": "a", "dialogue": "B: null\nC: bye"}]
INPUTS = [Input(row["dialogue"], row["id"]) for row in ROWS]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def from_pipe(monkeypatch: pytest.MonkeyPatch, content: str | bytes, **columns: str) -> list[Input]:
    raw = content if isinstance(content, bytes) else content.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    return read_inputs("-", **columns)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES.replace("\n", "\r\n\r\n")),
        ("A.JSONL", "\ufeff" + LINES),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json", json.dumps({"test": ROWS})),
        ("a.json", LINES),
        ("a.csv", 'id;dialogue\nb;A: one\u2028still one\na;"B: null\nC: bye"\n'),
        ("a.tsv", 'id\tdialogue\nb\tA: one\u2028still one\na\t"B: null\nC: bye"\n'),
    ],
)
def test_inputs_from_text_files_are_read_like_data_sets(tmp_path: Path, name: str, content: str) -> None:
    assert read_inputs(write(tmp_path / name, content)) == INPUTS


def test_inputs_from_columnar_files_and_folders_are_read_like_data_sets(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "test.parquet")
    assert read_inputs(str(tmp_path / "test.parquet")) == INPUTS
    assert read_inputs(str(tmp_path)) == INPUTS


@pytest.mark.parametrize("text", ["A: Hi.\nB: Bye.\n", "{Anna laughs}\n", "[Anna enters]\nA: Hi.", "[1, 2]", "{}x"])
@pytest.mark.parametrize("name", ["talk.txt", "talk", "talk.md"])
def test_any_other_text_is_one_dialogue(tmp_path: Path, text: str, name: str) -> None:
    path = write(tmp_path / name, "\ufeff" + text.replace("\n", "\r\n"))
    assert read_inputs(path) == [Input(text)]


@pytest.mark.parametrize(
    "content",
    [LINES, "\n" + LINES, json.dumps(ROWS), json.dumps({"data": ROWS}, indent=1), LINES.encode("utf-16")],
    ids=["lines", "a blank line first", "a list", "splits", "UTF-16"],
)
def test_json_from_a_pipe_is_read_as_rows(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    assert from_pipe(monkeypatch, content) == INPUTS


def test_one_object_over_several_lines_is_one_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_pipe(monkeypatch, json.dumps(ROWS[0], indent=2)) == INPUTS[:1]


def test_text_from_a_pipe_is_one_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_pipe(monkeypatch, "A: Hi.\r\nB: Bye.\n") == [Input("A: Hi.\nB: Bye.\n")]


def test_a_named_pipe_is_read_like_standard_input(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(LINES, "utf-8"))
    writer.start()
    assert read_inputs(str(pipe)) == INPUTS
    writer.join()


def test_the_columns_of_inputs_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,nr,text\nx,7,A: Hi.\n")
    assert read_inputs(path, "text", "nr") == [Input("A: Hi.", "7")]
    assert read_inputs(path, "text") == [Input("A: Hi.", "x")]


TURNS = [{"speaker": "A", "text": "Hi\nyou."}, {"speaker": "B", "text": "Bye."}]
CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "A: Hi."}]


@pytest.mark.parametrize("turns", [TURNS, [["A", "Hi you."], ["B", "Bye."]]])
def test_an_array_of_turns_is_one_dialogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: object) -> None:
    dialogue = Input("A: Hi you.\nB: Bye.")
    for indent in (None, 2):
        text = json.dumps(turns, indent=indent)
        assert from_pipe(monkeypatch, text) == [dialogue]
        assert read_inputs(write(tmp_path / "talk.txt", text)) == [dialogue]
        assert read_inputs(write(tmp_path / "talk.json", "\ufeff" + text)) == [dialogue]


def test_the_dialogue_of_a_row_may_be_a_list_of_turns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"id": "x", "dialogue": TURNS}) + "\n")
    assert read_inputs(path) == [Input("A: Hi you.\nB: Bye.", "x")]
    rows = [{"name": "x", "message": "y", "dialogue": TURNS}]
    assert read_inputs(write(tmp_path / "a.json", json.dumps(rows))) == [Input("A: Hi you.\nB: Bye.")]


def test_the_user_messages_of_a_chat_are_summarized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = [*CHAT, {"role": "assistant", "content": "Greets."}]
    rows = "".join(json.dumps({"id": key, "chat": chat}) + "\n" for key, chat in (("a", CHAT), ("b", answered)))
    expected = [Input("A: Hi.", "a"), Input("A: Hi.", "b")]
    assert read_inputs(write(tmp_path / "a.jsonl", rows), messages_field="chat") == expected
    assert from_pipe(monkeypatch, rows, messages_field="chat") == expected


def test_a_dialogue_is_read_from_one_column_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"dialogue": "A: Hi.", "chat": CHAT}) + "\n")
    with pytest.raises(
        DataError, match=r"--dialogue-field has no effect with --messages-field \(got dialogue and chat"
    ):
        read_inputs(path, "dialogue", messages_field="chat")


def test_input_rows_without_ids_have_id_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"dialogue": "A: Hi."}\n{"id": null, "dialogue": "B: Hi."}\n')
    assert read_inputs(path) == [Input("A: Hi."), Input("B: Hi.")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", r"there is no dialogue to summarize \(got no rows in .*a.jsonl\)"),
        ("a.txt", " \n", r"there is no dialogue to summarize \(got only white space from .*a.txt\); give its"),
        ("a.txt", b"caf\xe9", r"a.txt, line 1: not UTF-8 \(got byte 0xe9 at offset 3\); convert it .*Windows-1252"),
        (
            "a.jsonl",
            '{"dialog": "a"}\n',
            r"a.jsonl, line 1: no column dialogue, did you mean dialog\? \(got columns: dia",
        ),
        ("a.json", '[{"name": "a", "text": "A: Hi."}]', r"row 1: no column dialogue \(got columns: name, text\)"),
        ("a.jsonl", "[1]\n", r"a.jsonl, line 1: a row must be an object \(got a list\)"),
        ("a.jsonl", '{"dialogue": 7}\n', r"a.jsonl, line 1: dialogue must be a string \(got a number\)"),
        ("a.csv", 'dialogue\n" "\n', r"a.csv, record 1 \(line 2\): dialogue is empty \(got only white space\)"),
        ("a.txt", '{"dialogue": "a"\n', r"a.txt, line 1: not JSON \(got .*\); correct it"),
        ("a.jsonl.gz", "x", r"compressed files are not supported \(got .*a.jsonl.gz\)"),
    ],
)
def test_inputs_without_a_dialogue_are_refused(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_inputs(write(tmp_path / name, content))


def test_a_missing_file_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "talks.txt", "A: Hi.")
    with pytest.raises(DataError, match=r"no such file or folder \(got .*/talk.txt\), did you mean talks.txt\?"):
        read_inputs(str(tmp_path / "talk.txt"))


@pytest.mark.parametrize("column", ["dialogue_field", "messages_field", "id_field"])
def test_column_options_for_plain_text_are_refused(monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    option = "--" + column.replace("_", "-")
    with pytest.raises(DataError, match=rf"plain text has no columns \(got {option} x for standard input\)"):
        from_pipe(monkeypatch, "A: Hi.", **{column: "x"})
