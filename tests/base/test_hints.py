"""The known name that a mistyped one most likely meant."""

from summtune.base.hints import hint, hint_or_list


def test_the_nearest_name_is_asked_for() -> None:
    assert hint("Sumary", ["dialogue", "summary"]) == ", did you mean summary?"


def test_nothing_is_said_where_no_name_is_near() -> None:
    assert hint("xyz", ["dialogue", "summary"]) == ""
    assert hint("xyz", []) == ""


def test_case_does_not_hide_a_name() -> None:
    assert hint("LEARNING_RATE", ["learning_rate", "seed"]) == ", did you mean learning_rate?"


def test_the_known_names_are_listed_where_none_is_near() -> None:
    assert hint_or_list("xyz", ["dialogue", "summary"]) == "; known: dialogue, summary"
    assert hint_or_list("sumary", iter(["dialogue", "summary"])) == ", did you mean summary?"
