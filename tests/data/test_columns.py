"""Extraction of dialogue, references and id from a row, and the messages for bad rows."""

from collections.abc import Mapping

import pytest

from summtune.base.errors import DataError
from summtune.data.columns import Columns, EmptyRow, Record, checked
from summtune.data.rows import BadRow, Row, RowPosition
from summtune.recipe.sections import DatasetSource

COLUMNS = Columns("dialogue", ("summary",), None)
GOOD = {"dialogue": "A: hi", "summary": "Greets."}


def row(values: Mapping[str, object], number: int = 1) -> Row:
    return Row(RowPosition("a.jsonl", "line", number), values)


def read(values: Mapping[str, object], columns: Columns = COLUMNS) -> Record:
    (record,) = checked(iter([row(values)]), columns.record)
    return record


def test_line_ends_become_newlines_and_other_characters_are_kept() -> None:
    record = read({"dialogue": " A: hi\r\nB: \0\rC: 🎉\n", "summary": "a\r\nb", "other": 3})
    assert record.dialogue == " A: hi\nB: \0\nC: 🎉\n"
    assert record.references == ("a\nb",)
    assert record.id is None


def test_several_summary_columns_are_several_references() -> None:
    source = DatasetSource(path="x", summary_field=["s1", "s2"], id_field="n")
    columns = Columns.of(source)
    assert columns.wanted == {"dialogue", "s1", "s2", "n"}
    record = read({"dialogue": "d", "s1": "a", "s2": "b", "n": 7}, columns)
    assert (record.references, record.id) == (("a", "b"), "7")


def test_a_summary_column_may_contain_lists() -> None:
    columns = Columns("dialogue", ("s1", "several"), None)
    assert read({"dialogue": "d", "s1": "a", "several": ["b", "c\r\nd"]}, columns).references == ("a", "b", "c\nd")


@pytest.mark.parametrize(
    ("fields", "message"),
    [([], r"names no column \(got \[\] for x\)"), (["a", "a"], r"names a column twice \(got \['a', 'a'\] for x\)")],
)
def test_summary_field_must_name_columns_once(fields: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Columns.of(DatasetSource(path="x", summary_field=fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary": None}, r"a.jsonl, line 1: summary must be a string \(got null\)"),
        ({"summary": []}, r"summary is empty \(got an empty list\)"),
        ({"summary": ["x", None]}, r"item 2 of summary must be a string \(got null\)"),
        ({"summary": ["x", " "]}, r"item 2 of summary is empty \(got only white space\)"),
        ({"summary": "['x', 'y']"}, r"summary is a list written as text \(got \['x', 'y'\]…\)"),
        ({"dialogue": ["x"]}, r"turn 1 of dialogue must be {speaker, text} or \[speaker, text\] \(got a string\)"),
        ({"dialogue": {"turns": []}}, r"dialogue must be a string \(got an object\)"),
        ({"dialogue": True}, r"dialogue must be a string \(got a boolean\)"),
        ({"dialogue": b"x"}, r"dialogue must be a string \(got bytes\)"),
        ({"dialogue": ""}, r"dialogue is empty \(got an empty string\)"),
        ({"summary": " \r\n\t\u00a0"}, r"summary is empty \(got only white space\)"),
        (
            {"dialogue": "A: party \ud83d!"},
            r"dialogue contains half of a surrogate pair \(got '\\ud83d' after 'A: party '\)",
        ),
    ],
)
def test_values_that_are_not_text_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(GOOD | change)


def test_a_missing_column_is_reported_with_the_nearest_and_all_names() -> None:
    with pytest.raises(DataError, match=r"no column summary, did you mean summry\? \(got columns: dialogue, summry\)"):
        read({"dialogue": "d", "summry": "s"})
    with pytest.raises(DataError, match=r"no column dialogue \(got columns: none\)"):
        read({})


def test_a_missing_reference_among_several_is_an_error() -> None:
    columns = Columns("dialogue", ("s1", "s2"), None)
    with pytest.raises(DataError, match="s2 is empty"):
        read({"dialogue": "d", "s1": "a", "s2": ""}, columns)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"s1": None, "s2": ""}, "no summary in s1 and s2 (got only empty ones)"),
        ({"s1": [], "s2": [None, " "]}, "no summary in s1 and s2 (got only empty ones)"),
        ({"dialogue": None, "id": None}, "dialogue must be a string (got null); correct or remove the row"),
        ({"dialogue": float("nan")}, "dialogue must be a string (got a number); correct or remove the row"),
        ({"dialogue": "\n"}, "dialogue is empty (got only white space); fill it or remove the row"),
    ],
)
def test_an_empty_row_may_be_skipped(change: dict[str, object], problem: str) -> None:
    values = {"dialogue": "d", "s1": "a", "s2": ["b"], "id": "1"} | change
    skipping = Columns("dialogue", ("s1", "s2"), "id", skip_empty=True)
    assert skipping.record(row(values)) == EmptyRow(RowPosition("a.jsonl", "line", 1), problem)
    strict = Columns("dialogue", ("s1", "s2"), "id").record(row(values))
    assert isinstance(strict, BadRow)
    assert strict.problem.endswith("or skip such rows with `on_empty: skip`")


def test_an_empty_reference_next_to_others_can_be_left_out_and_is_counted() -> None:
    skipping = Columns("dialogue", ("s1", "s2"), None, skip_empty=True)
    assert read({"dialogue": "d", "s1": "", "s2": ["b", None, "c"]}, skipping) == Record(
        RowPosition("a.jsonl", "line", 1), "d", ("b", "c"), None, left_out=2
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary": 3}, r"summary must be a string \(got a number\)"),
        ({"summary": [None, 3]}, r"item 2 of summary must be a string \(got a number\)"),
        ({"dialogue": ["x"]}, r"turn 1 of dialogue must be {speaker, text} or \[speaker, text\] \(got a string\)"),
        ({"id": ""}, r"id is empty"),
    ],
)
def test_rows_that_are_wrong_but_not_empty_are_not_skipped(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(GOOD | {"id": "1"} | change, Columns("dialogue", ("summary",), "id", skip_empty=True))


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (None, r"id must be a string or a whole number \(got null\)"),
        (1.0, r"string or a whole number \(got a number\)"),
        (True, r"string or a whole number \(got a boolean\)"),
        (" ", r"id is empty \(got ' '\); every row needs an id"),
        ("x\udc00", r"id contains half of a surrogate pair"),
    ],
)
def test_an_id_is_text_or_a_whole_number(identity: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(GOOD | {"id": identity}, Columns("dialogue", ("summary",), "id"))


def test_several_bad_rows_are_reported_together_with_their_number() -> None:
    bad = {"dialogue": "d", "summary": 3}
    rows = [row(GOOD, 1), row(bad, 2), BadRow(RowPosition("a.jsonl", "line", 3), "not JSON"), row(GOOD, 4)]
    with pytest.raises(DataError) as caught:
        list(checked(iter(rows), COLUMNS.record))
    assert str(caught.value) == (
        "cannot use 2 rows:"
        "\n  a.jsonl, line 2: summary must be a string (got a number); correct or remove the row"
        "\n  a.jsonl, line 3: not JSON"
    )


def test_only_the_first_five_of_many_bad_rows_are_shown() -> None:
    with pytest.raises(DataError) as caught:
        list(checked((row({"dialogue": ""}, number) for number in range(1, 1001)), COLUMNS.record))
    first, *shown = str(caught.value).splitlines()
    assert first == "cannot use 1,000 rows, the first 5:"
    assert [line.split(":")[0] for line in shown] == [f"  a.jsonl, line {number}" for number in range(1, 6)]


def test_a_column_that_no_row_has_is_reported_once() -> None:
    rows = (row({"dialogue": "Hi.", "sumary": "A greeting."}, number) for number in range(1, 1001))
    with pytest.raises(DataError) as caught:
        list(checked(rows, COLUMNS.record))
    assert str(caught.value) == (
        "a.jsonl, line 1, and 999 more rows: no column summary, did you mean sumary? (got columns: dialogue, sumary)"
    )
