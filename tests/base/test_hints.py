"""Suggestions for mistyped names."""

from summtune.base.hints import hint, hint_or_list


def test_the_nearest_name_is_suggested() -> None:
    assert hint("Sumary", ["dialogue", "summary"]) == ", did you mean summary?"


def test_no_name_is_suggested_if_none_is_near() -> None:
    assert hint("xyz", ["dialogue", "summary"]) == ""
    assert hint("xyz", []) == ""


def test_suggestions_ignore_case() -> None:
    assert hint("LEARNING_RATE", ["learning_rate", "seed"]) == ", did you mean learning_rate?"


def test_all_known_names_are_listed_if_none_is_near() -> None:
    assert hint_or_list("xyz", ["dialogue", "summary"]) == "; known: dialogue, summary"
    assert hint_or_list("sumary", iter(["dialogue", "summary"])) == ", did you mean summary?"
