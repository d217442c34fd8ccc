"""Writes a prompt as the turns of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from summtune.prompts.chat_template import Message
from summtune.prompts.templates import filled, render
from summtune.runs.records import Dialogue


def turns(
    template: str,
    system_prompt: str | None,
    exemplars_as: Literal["turns", "text"],
    dialogue: str,
    exemplars: Sequence[Dialogue],
) -> list[Message]:
    """Return the turns that the model answers with the summary; the last one is the user's.

    Args:
        template: of the content of a user turn: text with one {dialogue}.
        system_prompt: content of the system turn; None without one.
        exemplars_as: whether exemplars are earlier turns of user and assistant, or text in the last turn.
        dialogue: braces in it have no special meaning.
        exemplars: solved examples in the order in which they are shown; none for a zero-shot prompt.
    """
    written = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    if exemplars_as == "text":
        return [*written, {"role": "user", "content": render(template, dialogue, exemplars)}]
    for one in exemplars:
        written += [
            {"role": "user", "content": filled(template, one.dialogue)},
            {"role": "assistant", "content": one.references[0].strip()},
        ]
    return [*written, {"role": "user", "content": filled(template, dialogue)}]
