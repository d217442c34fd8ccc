"""Grouping of rows that repeat a dialogue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.base.errors import DataError
from summtune.data.columns import Record
from summtune.data.grouping import Grouping, RepeatedId, repeated_sentence
from summtune.data.rows import RowPosition
from summtune.runs.records import Dialogue


def add(grouping: Grouping, identity: str, dialogue: str, *references: str, number: int = 1) -> None:
    grouping.add(Record(RowPosition("a", "row", number), dialogue, references, None), identity)


def test_rows_of_the_same_text_become_references_of_the_first() -> None:
    grouping = Grouping()
    add(grouping, "a", "A: hi", "one")
    add(grouping, "b", "A: bye", "other")
    add(grouping, "c", " A: hi\n", "two", "three")
    assert grouping.dialogues() == [
        Dialogue("a", "A: hi", ("one", "two", "three")),
        Dialogue("b", "A: bye", ("other",)),
    ]
    assert (grouping.rows, grouping.repeated_rows, grouping.doubled_references) == (3, 1, 0)


def test_identical_references_are_kept_once_and_counted() -> None:
    grouping = Grouping()
    add(grouping, "a", "d", "one", "one")
    add(grouping, "b", "d", " one ", "two")
    assert grouping.dialogues() == [Dialogue("a", "d", ("one", "two"))]
    assert grouping.doubled_references == 2


def test_the_limit_counts_dialogues_and_includes_their_later_references() -> None:
    grouping = Grouping()
    grouping.start_source(2)
    for number, (text, reference) in enumerate(
        [("x", "1"), ("x", "2"), ("y", "3"), ("z", "4"), ("y", "5"), ("x", "6")]
    ):
        add(grouping, str(number), text, reference)
    assert grouping.dialogues() == [Dialogue("0", "x", ("1", "2", "6")), Dialogue("2", "y", ("3", "5"))]
    assert (grouping.rows, grouping.repeated_rows) == (5, 3)


def test_the_limit_applies_to_each_source_separately() -> None:
    grouping = Grouping()
    grouping.start_source(None)
    add(grouping, "0", "x", "1")
    add(grouping, "1", "y", "2")
    grouping.start_source(1)
    add(grouping, "2", "y", "3")
    add(grouping, "3", "x", "4")
    assert grouping.dialogues() == [Dialogue("0", "x", ("1",)), Dialogue("1", "y", ("2", "3"))]


def test_an_id_shared_by_two_dialogues_is_reported_with_both_rows() -> None:
    grouping = Grouping()
    add(grouping, "a", "x", "1", number=3)
    add(grouping, "a", "x", "2", number=4)
    with pytest.raises(DataError, match=r"a, row 9: another dialogue has this id \(got a, first in a, row 3\)"):
        add(grouping, "a", "y", "3", number=9)


def test_a_dialogue_under_a_second_id_is_recorded_once_with_both_positions() -> None:
    grouping = Grouping()
    for number, (identity, text) in enumerate([("a", "x"), ("b", "y"), ("a", "x"), ("c", " x"), ("c", "x")], start=1):
        grouping.add(Record(RowPosition("f", "row", number), text, ("s",), identity), identity)
    add(grouping, "f_5", "x", "s")  # a generated id
    assert grouping.repeated_ids == [RepeatedId("c", RowPosition("f", "row", 4), "a", RowPosition("f", "row", 1))]
    sentence = repeated_sentence(grouping.repeated_ids)
    assert sentence == "1 row repeats a dialogue under another id (c of f, row 4 repeats a of f, row 1)"
    assert repeated_sentence(grouping.repeated_ids * 1200).startswith(
        "1,200 rows repeat a dialogue under another id (for instance c of f, row 4 repeats a of f, row 1; c of"
    )


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("123"))), st.one_of(st.none(), st.integers(1, 4)))
def test_every_row_is_a_dialogue_or_a_repetition(rows: list[tuple[str, str]], limit: int | None) -> None:
    grouping = Grouping()
    grouping.start_source(limit)
    for number, (text, reference) in enumerate(rows):
        add(grouping, str(number), text, reference)
    dialogues = grouping.dialogues()
    assert grouping.rows == len(dialogues) + grouping.repeated_rows
    assert grouping.rows == sum(len(one.references) for one in dialogues) + grouping.doubled_references
    kept = list(dict.fromkeys(text for text, _ in rows))[:limit]
    assert [one.dialogue for one in dialogues] == kept
    assert all(set(one.references) == {ref for text, ref in rows if text == one.dialogue} for one in dialogues)
