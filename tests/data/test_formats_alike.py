"""The same content gives the same dialogues, or the same message, in every format."""

import csv
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from fake_hub import COMMIT

from summtune.base.errors import DataError
from summtune.data.reading import read_dialogues
from summtune.recipe.sections import DatasetSource

FORMATS = ("jsonl", "json", "lines.json", "csv", "tsv", "parquet", "arrow")
TEXT_TABLES = ("csv", "tsv")


def write(folder: Path, kind: str, rows: Sequence[dict[str, Any]], stem: str = "test") -> Path:
    """Write the rows in a format; the columns are those of the first row."""
    path = folder / f"{stem}.{kind.rpartition('.')[2]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "json":
        path.write_text(json.dumps(rows))
    elif path.suffix in (".json", ".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind in TEXT_TABLES:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if kind == "tsv" else ";")
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    else:
        table = pyarrow.Table.from_pylist(list(rows))
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    return path


def outcome(path: Path | str, **keys: Any) -> object:
    """Return the dialogues with their texts, ids and references, or the message without the place."""
    try:
        loaded = read_dialogues([DatasetSource(path=str(path), **keys)], "test")
    except DataError as error:
        return re.sub(r"\S[^\n]*?, (line|row|record) \d+( \(line \d+\))?", "HERE", str(error)).replace(
            str(path), "FILE"
        )
    return [(one.id, one.dialogue, one.references) for one in loaded.dialogues], loaded.skipped_sentence[:20]


NO_EMPTY = "or skip such rows with `on_empty: skip`"
CONTENTS = {
    "text": ("They talk.", ("They talk.",)),
    "the text null": ("null", ("null",)),
    "the text NA": ("NA", ("NA",)),
    "the text nan": ("nan", ("nan",)),
    "the text None": ("None", ("None",)),
    "line separator": ("a\u2028b\x85c", ("a\u2028b\x85c",)),
    "Windows line ends": ("a\r\nb\rc", ("a\nb\nc",)),
    "NUL": ("a\0b", ("a\0b",)),
    "very long": ("x" * 200_000, ("x" * 200_000,)),
    "quotes and separators": ('"a", b;c\td|e', ('"a", b;c\td|e',)),
    "empty": ("", f"HERE: summary is empty (got an empty string); fill it or remove the row, {NO_EMPTY}"),
    "white space": (" \n", f"HERE: summary is empty (got only white space); fill it or remove the row, {NO_EMPTY}"),
    "list as text": (
        "['a', 'b']",
        "HERE: summary is a list written as text (got ['a', 'b']…); use .jsonl, or one column each",
    ),
}
TYPED_CONTENTS = {
    "null": (None, f"HERE: summary must be a string (got null); correct or remove the row, {NO_EMPTY}"),
    "not a number": (
        float("nan"),
        f"HERE: summary must be a string (got a number); correct or remove the row, {NO_EMPTY}",
    ),
    "number": (3, "HERE: summary must be a string (got a number); correct or remove the row"),
    "boolean": (True, "HERE: summary must be a string (got a boolean); correct or remove the row"),
    "object": ({"a": "b"}, "HERE: summary must be a string (got an object); correct or remove the row"),
    "list of one": (["a"], ("a",)),
    "list of several": (["a", "b\r\n"], ("a", "b\n")),
    "list of nothing": ([], f"HERE: summary is empty (got an empty list); give at least one text, {NO_EMPTY}"),
    "list with null": (
        ["a", None],
        f"HERE: item 2 of summary must be a string (got null); correct or remove the row, {NO_EMPTY}",
    ),
    "list in a list": (
        [["a"]],
        "HERE: item 1 of summary must be a string (got a list); correct or remove the row",
    ),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("content", [*CONTENTS, *TYPED_CONTENTS])
def test_the_same_content_gives_the_same_result_in_every_format(tmp_path: Path, kind: str, content: str) -> None:
    if kind in TEXT_TABLES and content in TYPED_CONTENTS:
        return  # tables that are text have no types
    value, expected = (CONTENTS | TYPED_CONTENTS)[content]
    rows = [{"id": "007", "dialogue": "A: hi", "summary": value}, {"id": "008", "dialogue": "B: bye", "summary": value}]
    if kind in TEXT_TABLES and "\0" in str(value) and sys.version_info < (3, 11):
        return  # the csv module of 3.10 refuses it, with an error that says so
    found = outcome(write(tmp_path, kind, rows), id_field="id")
    if isinstance(expected, str):
        problem = expected.removeprefix("HERE: ")
        assert found == f"cannot use 2 rows:\n  HERE: {problem}\n  HERE: {problem}"
    else:
        assert found == ([("007", "A: hi", expected), ("008", "B: bye", expected)], "")


@pytest.mark.parametrize("kind", FORMATS)
def test_turns_and_messages_give_the_same_dialogues_in_every_format(tmp_path: Path, kind: str) -> None:
    turns = [{"speaker": "A", "text": "hi\nyou"}, {"speaker": "B", "text": None}, {"speaker": "B", "text": "bye"}]
    chat = [{"role": "user", "content": "A: hi you\nB: bye"}, {"role": "assistant", "content": "They talk."}]
    values: dict[str, Any] = {"turns": turns, "pairs": [["A", "hi you"], ["B", "bye"]], "messages": chat}
    if kind in TEXT_TABLES:
        values = {name: json.dumps(value) for name, value in values.items()}
    path = write(tmp_path, kind, [values | {"summary": "They talk."}] * 2)  # the second one repeats it
    expected = ([("test_0", "A: hi you\nB: bye", ("They talk.",))], "")
    assert outcome(path, dialogue_field="turns") == expected
    assert outcome(path, dialogue_field="pairs") == expected
    assert outcome(path, type="messages") == expected


EMPTY = {"id": "1", "dialogue": "A: one", "summary": ""}
FULL = {"id": "2", "dialogue": "B: two", "summary": "They meet."}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_column_is_reported_the_same_way_in_every_format(tmp_path: Path, kind: str) -> None:
    found = outcome(write(tmp_path, kind, [FULL, FULL]), summary_field="sumary")
    assert found == "HERE, and 1 more row: no column sumary, did you mean summary? (got columns: id, dialogue, summary)"


@pytest.mark.parametrize("kind", FORMATS)
def test_skipping_empty_rows_does_not_renumber_the_others_in_any_format(tmp_path: Path, kind: str) -> None:
    rows = [
        EMPTY,
        FULL,
        {"id": "3", "dialogue": " ", "summary": "x"},
        {"id": "4", "dialogue": "C: four", "summary": "y"},
    ]
    path = write(tmp_path, kind, rows)
    expected = [("test_1", "B: two", ("They meet.",)), ("test_3", "C: four", ("y",))]
    assert outcome(path, on_empty="skip") == (expected, "skipped 2 empty rows")


HUB_ROWS = [
    {"id": "007", "dialogue": "A: 2020-01-01\nB: \u2028 null", "summary": "null"},
    {"id": "1.0", "dialogue": "NA", "summary": "True"},
    {"id": "x", "dialogue": "C: three", "summary": ""},
    {"id": "2024-05-06", "dialogue": "12", "summary": "12"},
]


def cached_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the data set someone/rows in the hub's cache, which is all that there is of the hub."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "home" / "hub" / "datasets--someone--rows"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_hub_data_set_is_read_like_a_local_copy_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    snapshot = cached_repository(tmp_path, monkeypatch)
    rows: list[dict[str, Any]] = HUB_ROWS
    if kind == "parquet":
        rows = [row | {"summary": [row["summary"] or None, "b"], "image": {"bytes": b"x", "path": "p"}} for row in rows]
    path = write(snapshot, kind, rows)
    for keys in ({"id_field": "id"}, {"id_field": "id", "on_empty": "skip"}):
        assert outcome("someone/rows", **keys) == outcome(path, **keys)


def test_messages_that_datasets_loads_are_read_like_a_local_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = [{"role": "user", "content": "A: hi"}, {"role": "assistant", "content": "They talk."}]
    snapshot = cached_repository(tmp_path, monkeypatch)
    path = write(snapshot, "parquet", [{"messages": chat, "image": 1}])
    # A card that declares columns, which the readers of files do not see.
    config = "{config_name: default, data_files: [{split: test, path: test.parquet}], columns: [messages]}"
    (snapshot / "README.md").write_text(f"---\nconfigs: [{config}]\n---\n")
    found = outcome("someone/rows", type="messages")
    assert found == outcome(path, type="messages") == ([("test_0", "A: hi", ("They talk.",))], "")
