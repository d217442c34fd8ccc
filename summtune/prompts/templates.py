"""Prompt templates, and rendering of prompts."""

from __future__ import annotations

from collections.abc import Sequence

from summtune.base.errors import InputError
from summtune.base.hints import hint
from summtune.prompts.placeholders import PLACE, foreign_placeholder
from summtune.runs.records import Dialogue

# The flan_ ones are the instructions that FLAN-T5 was tuned on, word for word: FLAN's templates for dialogues (SAMSum),
# https://github.com/google-research/FLAN/blob/main/flan/templates.py
BETWEEN_EXEMPLARS = "\n\n"
"""What separates exemplars; a base model that writes it begins another one."""

TEMPLATES = {
    "summarize": "Summarize the following conversation.\n\n{dialogue}\n\nSummary:",
    "flan_briefly": "{dialogue}\n\nBriefly summarize that dialogue.",
    "flan_short_summary": "Here is a dialogue:\n{dialogue}\n\nWrite a short summary!",
    "flan_what_summary": "Dialogue:\n{dialogue}\n\nWhat is a summary of this dialogue?",
    "flan_two_sentences": "{dialogue}\n\nWhat was that dialogue about, in two sentences or less?",
    "flan_talking_about": "Here is a dialogue:\n{dialogue}\n\nWhat were they talking about?",
    "flan_main_points": "Dialogue:\n{dialogue}\nWhat were the main points in that conversation?",
    "flan_going_on": "Dialogue:\n{dialogue}\nWhat was going on in that conversation?",
    "plain": "{dialogue}",
}


def template_text(name_or_text: str) -> str:
    """Return the text of a named template, or the given text if it is itself a template.

    Raises:
        InputError: the text is neither a known name nor contains exactly one ``{dialogue}``.
    """
    if name_or_text in TEMPLATES:
        return TEMPLATES[name_or_text]
    places = name_or_text.count(PLACE)
    if places == 1:
        return name_or_text
    if places:
        raise InputError(f"prompt_template needs {PLACE} once (got {places} times in {name_or_text!r}); keep one")
    raise InputError(
        f"prompt_template is neither a name nor a text with {PLACE} (got {name_or_text!r})"
        f"{hint(name_or_text, TEMPLATES)}; named templates: {', '.join(TEMPLATES)}"
    )


def check_template(name_or_text: str) -> None:
    """Check a template that a user wrote.

    Raises:
        InputError: the text is neither a known name nor contains exactly one ``{dialogue}``, or it has placeholders of
            another tool or escape sequences that were not interpreted.
    """
    wrong = None if name_or_text in TEMPLATES else foreign_placeholder(name_or_text)
    if wrong is not None:
        raise InputError(wrong)
    template_text(name_or_text)


def render(template: str, dialogue: str, exemplars: Sequence[Dialogue]) -> str:
    """Return the prompt for a dialogue: first each exemplar with its first reference, then the dialogue itself.

    Args:
        template: a text with one ``{dialogue}``, as ``template_text`` returns it.
        dialogue: the turns; braces in it have no special meaning.
        exemplars: solved examples in the order in which they are shown; none for a zero-shot prompt.
    """
    shown = "".join(
        f"{filled(template, one.dialogue)} {one.references[0].strip()}{BETWEEN_EXEMPLARS}" for one in exemplars
    )
    return shown + filled(template, dialogue)


def filled(template: str, dialogue: str) -> str:
    """Return the template with a dialogue in its place."""
    # Not str.format: a brace in a template or a dialogue would be an error, or access Python objects.
    return template.replace(PLACE, dialogue)
