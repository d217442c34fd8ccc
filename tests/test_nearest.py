"""The known name that a mistyped one most likely meant."""

from summtune.nearest import hint


def test_the_nearest_name_is_asked_for() -> None:
    assert hint("Sumary", ["dialogue", "summary"]) == ", did you mean summary?"


def test_nothing_is_said_where_no_name_is_near() -> None:
    assert hint("xyz", ["dialogue", "summary"]) == ""
    assert hint("xyz", []) == ""
