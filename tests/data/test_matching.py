"""Matching of predictions and dialogues, and the messages for mismatches."""

import pytest

from summtune.base.errors import DataError
from summtune.data.external_predictions import ExternalPrediction, ExternalPredictions
from summtune.data.grouping import RepeatedId
from summtune.data.matching import repeated_dialogues, with_dialogues, with_own_references
from summtune.data.reading import LoadedDialogues
from summtune.data.rows import RowPosition
from summtune.runs.records import Dialogue, Prediction

DIALOGUES = [Dialogue(f"test_{i}", f"A: Hi {i}.", (f"They greet {i}.", f"Greeting {i}.")) for i in range(8)]


def outputs(*rows, lines=False, **changes):
    """Return outputs of (prediction, id) pairs or predictions."""
    made = []
    for number, row in enumerate(rows, start=1):
        text, id_ = row if isinstance(row, tuple) else (row, None)
        made.append(ExternalPrediction(RowPosition("out", "line", number), text, id_, **changes))
    return ExternalPredictions("out", tuple(made), ("prediction",), lines)


def loaded(count=8, rows=None):
    return LoadedDialogues(DIALOGUES[:count], rows or count, (rows or count) - count, 0, ())


def test_rows_are_matched_by_id_in_any_order():
    given = outputs(("b", "test_1"), ("a", "test_0"), new_tokens=3, hit_length_cap=True)
    first, second = with_dialogues(given, loaded(2), "test.jsonl")
    assert first == Prediction("test_0", "A: Hi 0.", "a", DIALOGUES[0].references, None, 3, None, True)
    assert (second.id, second.prediction) == ("test_1", "b")


def test_wrong_ids_are_counted_and_the_first_ones_listed():
    rows = [("a", "test_0"), ("b", "test_0"), *(("x", f"dev_{i}") for i in range(7)), ("c", "test_0")]
    with pytest.raises(DataError) as caught:
        with_dialogues(outputs(*rows), loaded(), "test.jsonl")
    assert str(caught.value) == (
        "out does not have one prediction for each id of the 8 dialogues of test.jsonl (got 7 missing: test_1, test_2, "
        "test_3, test_4, test_5, …; 7 foreign: dev_0 (line 3), dev_1 (line 4), dev_2 (line 5), dev_3 (line 6), dev_4 "
        "(line 7), …; 2 doubled: test_0 (line 2), test_0 (line 10)); correct the ids, or choose their column with "
        "--id-field"
    )


def test_ids_that_are_all_foreign_may_be_in_another_column_of_either_file():
    with pytest.raises(DataError, match=r"here with --id-field, in test\.jsonl with --reference-id-field$"):
        with_dialogues(outputs(("a", "x"), ("b", "y")), loaded(2), "test.jsonl")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "test_0")], r"\(got 1 missing: test_1\)"),
        ([("a", "test_0"), ("b", "test_1"), ("c", "test_2")], r"\(got 1 foreign: test_2 \(line 3\)\)"),
        ([("a", "test_0"), ("b", "test_1"), ("c", "test_1")], r"\(got 1 doubled: test_1 \(line 3\)\)"),
    ],
)
def test_a_single_wrong_id_is_refused(rows, message):
    with pytest.raises(DataError, match=message):
        with_dialogues(outputs(*rows), loaded(2), "test.jsonl")


def test_lines_are_matched_by_order():
    found = with_dialogues(outputs("a", "", lines=True), loaded(2), "test.jsonl")
    assert [(one.id, one.prediction) for one in found] == [("test_0", "a"), ("test_1", "")]


@pytest.mark.parametrize(
    ("texts", "count", "rows", "message"),
    [
        (
            ["a"],
            3,
            3,
            r"^out has 1 line, and test.jsonl has 3 dialogues \(got 2 too few\); write one prediction per line",
        ),
        (
            ["a", "b", "", " "],
            2,
            2,
            r"4 lines, .* 2 dialogues \(got 2 too many\); the lines after the last .* remove them",
        ),
        (["a", "b", "", "c"], 2, 2, r"4 lines, .* 2 dialogues \(got 2 too many\); write one prediction per line"),
        (["a"] * 6, 2, 6, r"6 lines, .* \(got 4 too many\); its 6 rows repeat dialogues, whose references are grouped"),
    ],
)
def test_a_wrong_number_of_predictions_is_reported_with_the_likely_reason(texts, count, rows, message):
    with pytest.raises(DataError, match=message):
        with_dialogues(outputs(*texts, lines=True), loaded(count, rows), "test.jsonl")


def test_rows_without_ids_and_dialogues_are_refused():
    with pytest.raises(
        DataError, match=r"the rows of out have neither ids nor dialogues \(got columns: prediction\); name the"
    ):
        with_dialogues(outputs("a", "b"), loaded(2), "test.jsonl")


def test_rows_with_their_dialogue_are_matched_by_order_and_checked():
    given = outputs("a", dialogue="A: Hi 0. \n")
    assert with_dialogues(given, loaded(1), "test.jsonl")[0].dialogue == "A: Hi 0."
    with pytest.raises(
        DataError, match=r"out has 1 row, .* 2 dialogues \(got 1 too few\); give the rows ids, or write one"
    ):
        with_dialogues(given, loaded(2), "test.jsonl")


@pytest.mark.parametrize("id_", [None, "test_0"])
def test_a_prediction_whose_dialogue_differs_from_its_match_is_refused(id_):
    with pytest.raises(
        DataError,
        match=r"out, line 1: not the dialogue that test.jsonl has under the id test_0 \(got 'A: Bye.' instead of "
        r"'A: Hi 0.'\); correct it, or remove the column",
    ):
        with_dialogues(outputs(("a", id_), dialogue="A: Bye."), loaded(1), "test.jsonl")


def test_rows_with_their_own_references_need_no_data_set():
    (found,) = with_own_references(outputs(("a", "x"), references=("r", "s"), dialogue="A: Hi."))
    assert found == Prediction("x", "A: Hi.", "a", ("r", "s"))
    named = with_own_references(outputs("a", "b", references=("r",)))
    assert [(one.id, one.dialogue) for one in named] == [("row_0", ""), ("row_1", "")]


def test_several_predictions_for_one_id_are_refused():
    with pytest.raises(
        DataError, match=r"out has several predictions for one id \(got x \(line 3\)\); give each dialogue"
    ):
        with_own_references(outputs(("a", "x"), ("b", "y"), ("c", "x"), references=("r",)))


def test_an_id_of_a_repeated_dialogue_is_reported_separately_from_unknown_ids():
    position = RowPosition("test", "row", 1)
    repeated = (RepeatedId("test_0b", position, "test_0", position),)
    given = outputs(("a", "test_0"), ("b", "test_0b"), ("c", "other"))
    with pytest.raises(DataError) as caught:
        with_dialogues(given, LoadedDialogues(DIALOGUES[:1], 2, 1, 0, (), repeated), "test.jsonl")
    assert (
        "(got 1 foreign: other (line 3); 1 repeating the dialogue of an earlier id: test_0b (line 2) for test_0)"
        in (str(caught.value))
    )
    with pytest.raises(
        DataError, match=r"earlier id: test_0b \(line 2\) for test_0\); keep the predictions of the ear"
    ):
        with_dialogues(
            outputs(("a", "test_0"), ("b", "test_0b")),
            LoadedDialogues(DIALOGUES[:1], 2, 1, 0, (), repeated),
            "test.jsonl",
        )


def test_rows_that_repeat_the_dialogue_of_another_id_are_found():
    given = outputs(("a", "1"), ("b", "2"), dialogue="A: Hi.\n")
    (repeated,) = repeated_dialogues(given)
    assert repeated == RepeatedId("2", RowPosition("out", "line", 2), "1", RowPosition("out", "line", 1))
    assert repeated_dialogues(outputs("a", "b", dialogue="A: Hi.")) == []
    assert repeated_dialogues(outputs(("a", "1"), ("b", "2"))) == []
