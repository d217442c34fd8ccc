"""Prompt templates and rendered prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.base.errors import InputError
from summtune.prompts.templates import TEMPLATES, check_template, render, template_text
from summtune.runs.records import Dialogue


def test_every_named_template_is_valid() -> None:
    for name, text in TEMPLATES.items():
        assert template_text(name) == text
        assert template_text(text) == text


def test_an_unknown_template_is_reported_with_the_nearest_and_all_names() -> None:
    with pytest.raises(
        InputError, match=r"got 'summarise'\), did you mean summarize\?; named templates: summarize, .*plain"
    ):
        template_text("summarise")


@pytest.mark.parametrize("name", TEMPLATES)
def test_named_templates_have_no_foreign_placeholders(name: str) -> None:
    check_template(name)
    check_template(TEMPLATES[name])


def test_a_foreign_placeholder_is_reported_before_a_repeated_one() -> None:
    with pytest.raises(InputError, match=r"got \{\{dialogue\}\}\); only \{dialogue\} is replaced"):
        check_template("{{dialogue}} and {dialogue}")
    with pytest.raises(InputError, match="got 2 times in"):
        check_template("{dialogue} and {dialogue}")


def test_a_template_of_an_earlier_version_still_renders() -> None:
    assert template_text("{dialogue} {summary}") == "{dialogue} {summary}"


def test_a_template_with_two_placeholders_is_refused() -> None:
    with pytest.raises(InputError, match="got 2 times in"):
        template_text("{dialogue} and {dialogue}")


def test_a_zero_shot_prompt_is_the_template_with_the_dialogue() -> None:
    assert render(TEMPLATES["summarize"], "A: hi", ()) == ("Summarize the following conversation.\n\nA: hi\n\nSummary:")


def test_exemplars_precede_the_dialogue_with_their_first_reference() -> None:
    shown = (Dialogue("1", "A: one", ("First.", "Other.")), Dialogue("2", "A: two", ("Second.",)))
    assert render("Say: {dialogue}\nSummary:", "A: three", shown) == (
        "Say: A: one\nSummary: First.\n\nSay: A: two\nSummary: Second.\n\nSay: A: three\nSummary:"
    )


@given(st.text(), st.text())
def test_braces_in_a_dialogue_are_not_interpreted(before: str, after: str) -> None:
    dialogue = before + "{dialogue} {0} {x.__class__} {" + after
    exemplar = Dialogue("1", dialogue, (dialogue,))
    assert render("<{dialogue}>", dialogue, (exemplar,)) == f"<{dialogue}> {dialogue.strip()}\n\n<{dialogue}>"
