"""Reading of rows from each file format."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from summtune.base.errors import DataError
from summtune.data.formats import read_json_rows, read_rows
from summtune.data.rows import BadRow, Row

ALL = frozenset({"dialogue", "summary"})
ROW = {"dialogue": "A: hi\nB: bye", "summary": "Grüße 🎉"}


def rows(path: Path, wanted: frozenset[str] = ALL) -> list[Row | BadRow]:
    return list(read_rows(path, path.name, wanted))


def values(path: Path, wanted: frozenset[str] = ALL) -> list[dict[str, Any]]:
    return [dict(row.values) for row in rows(path, wanted) if isinstance(row, Row)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# JSON lines


def test_jsonl_rows_are_numbered_by_line_and_blank_lines_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"dialogue": "a"}\n\n  \n{"dialogue": "b"}')
    assert [str(row.position) for row in rows(path)] == ["a.jsonl, line 1", "a.jsonl, line 4"]


def test_jsonl_reads_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"dialogue": "a"}\r\n{"dialogue": "b"}\r\n')
    assert values(path) == [{"dialogue": "a"}, {"dialogue": "b"}]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_jsonl_reports_each_bad_line_and_continues(tmp_path: Path, start: bytes) -> None:
    line = b'{"dialogue": "caf\xe9"}\n'
    path = write(
        tmp_path / "a.jsonl", start + b'{"a": 1}\n' + line + b'[1]\n{"a": }\n' + b"[" * 100_000 + b'\n{"a": 2}\n'
    )
    problems = [f"{row.position}: {row.problem}" for row in rows(path) if isinstance(row, BadRow)]
    where = f"a.jsonl, line 2: not UTF-8 (got byte 0xe9 at offset {len(start) + 9 + 17})"
    assert problems[0] == f"{where}; convert it (it looks like Windows-1252)"
    assert problems[1] == "a.jsonl, line 3: a row must be an object (got a list); write {...}"
    assert problems[2] == "a.jsonl, line 4: not JSON (got Expecting value at column 7); correct it"
    assert "a.jsonl, line 5: not readable JSON" in problems[3]
    assert values(path)[-1] == {"a": 2}


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 3}', '{"x": [{"a": 1, "a": 1}]}'])
def test_a_duplicate_key_in_json_is_reported(tmp_path: Path, text: str) -> None:
    (row,) = rows(write(tmp_path / "a.jsonl", text))
    assert isinstance(row, BadRow)
    assert row.problem == "not readable JSON (got duplicate key 'a' in one object); correct it"
    with pytest.raises(DataError, match=r"a.json: not readable JSON \(got duplicate key 'a' in one object\)"):
        json_rows(write(tmp_path / "a.json", f"[{text}]"), None)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_table_with_duplicate_column_names_is_refused(tmp_path: Path, name: str) -> None:
    table = pyarrow.table([["x"], ["y"], ["z"]], names=["a", "b", "a"])
    with pytest.raises(DataError, match=rf"{name} has duplicate column names \(got a, b, a\); rename one"):
        rows(write_arrow(tmp_path / name, table))


def test_all_columns_are_read_if_none_is_named(tmp_path: Path) -> None:
    (row,) = read_rows(write_arrow(tmp_path / "a.parquet", pyarrow.table({"a": ["x"], "b": [1]})), "a.parquet", None)
    assert isinstance(row, Row)
    assert row.values == {"a": "x", "b": 1}


def test_jsonl_reports_a_number_with_too_many_digits(tmp_path: Path) -> None:
    (row,) = rows(write(tmp_path / "a.jsonl", '{"a": ' + "9" * 5000 + "}"))
    if isinstance(row, BadRow):  # Python 3.10 before 3.10.7 reads it
        assert "not readable JSON (got Exceeds the limit" in row.problem


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.dictionaries(st.text(min_size=1), st.text()), min_size=1, max_size=4), st.booleans())
def test_jsonl_round_trip(tmp_path: Path, made: list[dict[str, str]], escape: bool) -> None:
    text = "\n".join(json.dumps(row, ensure_ascii=escape) for row in made)
    assert values(write(tmp_path / "a.jsonl", text)) == made


# JSON


def json_rows(path: Path, split: str | None = None) -> tuple[str | None, list[Any]]:
    chosen, stream = read_json_rows(path, split, "train")
    return chosen, [row.values if isinstance(row, Row) else f"{row.position}: {row.problem}" for row in stream]


@pytest.mark.parametrize(
    ("content", "split", "chosen"),
    [
        ([ROW], None, None),
        ({"data": [ROW], "version": 1}, None, None),
        ({"train": [ROW], "test": []}, None, "train"),
        ({"train": [], "test": [ROW]}, "test", "test"),
        ({"train": [ROW], "data": []}, None, "train"),
    ],
)
def test_json_contains_a_list_or_splits(tmp_path: Path, content: object, split: str | None, chosen: str | None) -> None:
    path = write(tmp_path / "a.json", "\ufeff" + json.dumps(content))
    assert json_rows(path, split) == (chosen, [ROW])


@pytest.mark.parametrize(
    ("content", "split", "message"),
    [
        (
            '[{"a": 1},\n {"a" 2}]',
            None,
            r"a.json, line 2, column 7: not JSON \(got Expecting ':' delimiter\); correct it",
        ),
        ("[1]\n[2]\n", None, r"line 2, column 1: not JSON \(got Extra data\); correct it"),
        ('{"a": 1}\n{"a": 2}\n', "test", r"line 2, column 1: not JSON \(got Extra data\); correct it"),
        (b'[{"a": 1},\n\xff]', None, r"a.json, line 2: not UTF-8 \(got byte 0xff at offset 11\)"),
        ("[" * 100_000, None, "not readable JSON"),
        ("3", None, r"expected a list of objects \(got a number\)"),
        ("[]", "test", r"is one list and has no splits \(got split: test\)"),
        ('{"tets": [], "x": 1}', "test", r"rows under 'test', did you mean tets\? \(got keys: tets, x\)"),
        ("{}", None, r"rows under 'train' or 'data' \(got keys: none\)"),
    ],
)
def test_json_without_rows_is_refused(tmp_path: Path, content: str, split: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        json_rows(write(tmp_path / "a.json", content), split)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_lines_in_a_json_file_are_read_line_by_line(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.json", '{"a": "é"}\n\n[3]\n'.encode(encoding))
    assert json_rows(path) == (
        None,
        [{"a": "é"}, f"{path}, line 3: a row must be an object (got a list); write {{...}}"],
    )


def test_json_rows_must_be_objects(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[{}, null, true, "x"]')
    assert json_rows(path)[1][1:] == [
        f"{path}, row {number}: a row must be an object (got {kind}); write {{...}}"
        for number, kind in ((2, "null"), (3, "a boolean"), (4, "a string"))
    ]


# CSV


def test_csv_records_have_their_number_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '\ufeffdialogue,summary\r\n"A: hi\nB: ""bye""",s\r\n\r\nx,"y,z"\r\n')
    assert [str(row.position) for row in rows(path)] == ["a.csv, record 1 (line 2)", "a.csv, record 2 (line 5)"]
    assert values(path) == [{"dialogue": 'A: hi\nB: "bye"', "summary": "s"}, {"dialogue": "x", "summary": "y,z"}]


def test_csv_reads_fields_beyond_the_limit_and_leaves_the_limit_alone(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "x" * 300_000
    assert values(write(tmp_path / "a.csv", f"dialogue,summary\n{long},s\n"))[0]["dialogue"] == long
    assert csv.field_size_limit() == before


def test_csv_reports_records_of_the_wrong_width_and_continues(tmp_path: Path) -> None:
    first, second = rows(write(tmp_path / "a.csv", "a,b\n1,2,3\n1,2\n"))
    assert isinstance(first, BadRow)
    assert f"{first.position}: {first.problem}" == (
        "a.csv, record 1 (line 2): 2 fields expected (got 3); quote commas and newlines"
    )
    assert isinstance(second, Row)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a.csv is empty \(got no header\)"),
        ("a,b,a\n1,2,3\n", r"has duplicate column names \(got a, b, a\)"),
        ('a,b\n1,"2\n3,4\n', r"a.csv, line 3: not CSV \(got unexpected end of data\)"),
        ('a,b\n1,"2"3\n', r"a.csv, line 2: not CSV \(got ',' expected after '\"'\)"),
        (b"a,b\n1,\xc3\xa9\n1,\xe9\n", r"a.csv, line 3: not UTF-8 \(got byte 0xe9 at offset 11\)"),
    ],
)
def test_unreadable_csv_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows(write(tmp_path / "a.csv", content))


# NUL is text from Python 3.11 on; the csv module of 3.10 refuses it, with an error that says so.
CSV_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(CSV_TEXT, CSV_TEXT), max_size=4))
def test_csv_round_trip(tmp_path: Path, made: list[tuple[str, str]]) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("dialogue", "summary"), *made])
    assert values(path) == [{"dialogue": a, "summary": b} for a, b in made]


# Parquet and Arrow


def write_arrow(path: Path, table: pyarrow.Table) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_columnar_files_give_the_wanted_columns_or_list_all_if_one_is_missing(tmp_path: Path, name: str) -> None:
    path = write_arrow(
        tmp_path / name, pyarrow.table({**{key: [text] * 1500 for key, text in ROW.items()}, "n": [1] * 1500})
    )
    assert values(path) == [ROW] * 1500
    assert values(path, ALL | {"id"}) == [ROW | {"n": None}] * 1500, "n is named, not read"
    assert values(path, frozenset({"id"})) == [{"dialogue": ROW["dialogue"], "summary": None, "n": None}] * 1500
    assert str(rows(path)[-1].position) == f"{name}, row 1500"


def test_arrow_files_with_an_index_are_read(tmp_path: Path) -> None:
    table = pyarrow.table({"dialogue": ["a", "b"], "summary": ["c", "d"]})
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as file:
        for batch in table.to_batches(max_chunksize=1):
            file.write_batch(batch)
    assert values(tmp_path / "a.arrow") == table.to_pylist()


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_columnar_files_with_text_that_is_not_utf8_name_the_row(tmp_path: Path, name: str) -> None:
    bad = pyarrow.array([b"ok", b"caf\xe9"]).cast(pyarrow.binary()).view(pyarrow.string())
    _, row = rows(write_arrow(tmp_path / name, pyarrow.table({"dialogue": bad, "summary": ["s", "s"]})))
    assert isinstance(row, BadRow)
    assert f"{row.position}: {row.problem}" == f"{name}, row 2: text that is not UTF-8 (got byte 0xe9); convert it"


@pytest.mark.parametrize(("name", "kind"), [("a.parquet", "Parquet"), ("a.arrow", "Arrow")])
def test_files_that_are_not_parquet_or_arrow_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(DataError, match=rf"{name} is not a readable {kind} file \(got .+\)"):
        rows(write(tmp_path / name, b"PAR0 nothing of the kind"))


def test_a_file_that_disappeared_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.jsonl cannot be read \(got No such file or directory\)"):
        rows(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"a.json cannot be read \(got No such file or directory\)"):
        json_rows(tmp_path / "a.json")
