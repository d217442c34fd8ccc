"""Files of outputs that a comparison names, read for the dialogues of data sets."""

import csv

import pytest

from summtune.base.errors import DataError
from summtune.base.files import write_jsonl
from summtune.data.outputs import matched_outputs, read_outputs
from summtune.data.reading import read_dialogues
from summtune.recipe.sections import ComparedPredictions, DatasetSource


@pytest.fixture
def source(tmp_path):
    """Return six dialogues as a data set with the ids ``d0`` to ``d5``, with so much of it as ``limit`` leaves."""
    rows = [{"fname": f"d{n}", "dialogue": f"#Person1#: Is it {n}?", "summary": f"It is {n}."} for n in range(6)]
    write_jsonl(tmp_path / "test.jsonl", rows)

    def of(limit=None):
        return DatasetSource(path=str(tmp_path / "test.jsonl"), id_field="fname", limit=limit)

    return of


@pytest.fixture
def outputs(tmp_path):
    """Write outputs as a file and return the entry that names it."""

    def write(rows, name="theirs.csv", **columns):
        path = tmp_path / name
        if isinstance(rows[0], str):
            path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        else:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        return ComparedPredictions(predictions=str(path), **columns)

    return write


def matched(entry, source):
    return matched_outputs(read_outputs(entry, [source]), [source], read_dialogues([source], "test"))


def rows(numbers, id_field="fname", prediction_field="prediction"):
    return [{id_field: f"d{n}", prediction_field: f"Output {n}."} for n in numbers]


def texts(found):
    return {each.id: each.prediction for each in found.predictions}


SIX = {f"d{n}": f"Output {n}." for n in range(6)}


def test_rows_are_matched_by_the_id_column_of_the_test_data_in_any_order(outputs, source):
    found = matched(outputs(rows([3, 1, 0, 5, 4, 2])), source())
    assert texts(found) == SIX
    assert [each.id for each in found.predictions] == list(SIX)
    assert found.predictions[2].references == ("It is 2.",)
    assert found.of_match[-1].endswith("matched with the dialogues of " + source().path + " by id")


def test_columns_with_other_names_are_named_by_the_keys_of_the_entry(outputs, source):
    given = rows(range(6), "TestID", "Summary")
    assert texts(matched(outputs(given, prediction_field="Summary", id_field="TestID"), source())) == SIX


def test_lines_are_matched_by_order_and_may_be_empty(outputs, source):
    found = matched(outputs(["Output 0.", "", *(f"Output {n}." for n in range(2, 6))], "theirs.txt"), source())
    assert texts(found) == SIX | {"d1": ""}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"prediction_field": "Summary"},
            r"no column Summary .*name the column of predictions with `prediction_field`",
        ),
        ({"id_field": "fnam"}, r"no column fnam, did you mean fname\?.*choose the column with `id_field`"),
        ({"dialogue_field": "talk"}, r"no column talk \(got columns: fname, prediction\)"),
    ],
)
def test_a_column_that_does_not_exist_is_reported_with_the_key_that_names_it(outputs, source, columns, message):
    with pytest.raises(DataError, match=message):
        read_outputs(outputs(rows(range(6)), **columns), [source()])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0, 1, 2, 3, 4], "1 missing: d5"),
        ([0, 1, 2, 3, 4, 5, 7], r"1 foreign: d7 \(record 7\)"),
        ([0, 1, 2, 3, 4, 5, 0], r"1 doubled: d0 \(record 7\)"),
    ],
)
def test_there_is_exactly_one_output_for_each_dialogue(outputs, source, numbers, message):
    with pytest.raises(DataError, match=message + r".*; correct the ids, or choose their column with `id_field`"):
        matched(outputs(rows(numbers)), source())


def test_ids_that_are_all_foreign_may_be_those_of_a_column_that_the_test_data_does_not_name(outputs, source):
    entry = outputs([{"id": f"d{n}", "prediction": "x"} for n in range(6)])
    unnamed = source().model_copy(update={"id_field": None})
    advice = "the column that has them: here with `id_field`, in .* with `id_field` of the test data$"
    with pytest.raises(DataError, match=advice):
        matched(entry, unnamed)


def test_rows_without_ids_are_refused_with_the_key_that_names_their_column(outputs, source):
    entry = outputs([{"number": n, "prediction": "x"} for n in range(6)])
    with pytest.raises(DataError, match=r"got columns: number, prediction\); name the column of their ids with `id_"):
        matched(entry, source())


def test_outputs_for_dialogues_beyond_a_limit_are_left_out(outputs, source):
    given = outputs(rows(range(6))), outputs([f"Output {n}." for n in range(6)], "theirs.txt")
    for entry in given:
        found = matched(entry, source(limit=2))
        assert texts(found) == {"d0": "Output 0.", "d1": "Output 1."}
        assert "left out 4 predictions for dialogues beyond the limit" in found.of_match[0]
    assert texts(matched(outputs(rows([0, 1])), source(limit=2))) == {"d0": "Output 0.", "d1": "Output 1."}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([0, 2, 3], "1 missing: d1"), ([0, 1, 9], "1 foreign: d9"), ([2, 3, 4], "2 missing: d0, d1")],
)
def test_a_limit_hides_no_wrong_id(outputs, source, numbers, message):
    with pytest.raises(DataError, match=message):
        matched(outputs(rows(numbers)), source(limit=2))


def test_lines_are_as_many_as_dialogues_with_or_without_the_limit(outputs, source):
    with pytest.raises(DataError, match=r"has 3 lines, and .* has 2 dialogues"):
        matched(outputs(["a", "b", "c"], "theirs.txt"), source(limit=2))
