"""Writes the text of prompts and of whole conversations: the same functions for training and for generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import assert_never

from summtune.prompts.chat_template import Message, render_chat
from summtune.prompts.conversation import turns
from summtune.prompts.formats import ChatFormat, MessagesFormat, TextFormat
from summtune.prompts.templates import render
from summtune.runs.records import Dialogue


class Rendering(Protocol):
    """Writes the prompts of a format."""

    @property
    def is_chat(self) -> bool:
        """Whether the text has all of the model's special tokens; a tokenizer must not add its own."""
        ...

    def prompt(self, dialogue: str, exemplars: Sequence[Dialogue]) -> str:
        """Return the text that the model continues with the summary.

        Args:
            dialogue: the turns; braces in it have no special meaning.
            exemplars: solved examples in the order in which they are shown; none for a zero-shot prompt.

        Raises:
            ChatTemplateError: the chat template fails.
        """
        ...

    def completed(self, dialogue: str, exemplars: Sequence[Dialogue], summary: str) -> str:
        """Return the text of the prompt and the summary, as the template writes a finished conversation.

        Raises:
            ChatTemplateError: the chat template fails.
        """
        ...


def rendering_of(form: TextFormat | ChatFormat) -> Rendering:
    """Return what writes the prompts of a format."""
    match form:
        case TextFormat():
            return _Text(form.template)
        case ChatFormat():
            return _Chat(form)
        case _:
            assert_never(form)


def messages(form: MessagesFormat, dialogue: str, exemplars: Sequence[Dialogue]) -> list[Message]:
    """Return a prompt as the messages that a server is sent."""
    return turns(form.template, form.system_prompt, form.exemplars_as, dialogue, exemplars)


@dataclass(frozen=True)
class _Text:
    template: str
    is_chat = False

    def prompt(self, dialogue: str, exemplars: Sequence[Dialogue]) -> str:
        return render(self.template, dialogue, exemplars)

    def completed(self, dialogue: str, exemplars: Sequence[Dialogue], summary: str) -> str:
        return f"{self.prompt(dialogue, exemplars)} {summary.strip()}"


@dataclass(frozen=True)
class _Chat:
    form: ChatFormat
    is_chat = True

    def prompt(self, dialogue: str, exemplars: Sequence[Dialogue]) -> str:
        return self._rendered(self._turns(dialogue, exemplars), True)

    def completed(self, dialogue: str, exemplars: Sequence[Dialogue], summary: str) -> str:
        answer = {"role": "assistant", "content": summary.strip()}
        return self._rendered([*self._turns(dialogue, exemplars), answer], False)

    def _turns(self, dialogue: str, exemplars: Sequence[Dialogue]) -> list[Message]:
        form = self.form
        return turns(form.template, form.system_prompt, form.exemplars_as, dialogue, exemplars)

    def _rendered(self, messages: Sequence[Message], opens_answer: bool) -> str:
        form = self.form
        variables = {**form.special_tokens, **form.arguments}
        return render_chat(form.chat_template, form.source, messages, variables, form.date, opens_answer)
