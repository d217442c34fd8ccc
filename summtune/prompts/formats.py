"""How a prompt is written: as plain text, as a chat by the model's template, or as messages to a server."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, JsonValue

from summtune.recipe.sections import Section


class TextFormat(Section):
    """Prompts as plain text."""

    kind: Literal["text"] = "text"
    template: str = Field(description="text with one {dialogue}")


class ChatFormat(Section):
    """Prompts as a chat: an optional system turn, exemplars, and the dialogue in the last user turn."""

    kind: Literal["chat"] = "chat"
    template: str = Field(description="of the content of a user turn: text with one {dialogue}")
    chat_template: str = Field(description="Jinja text that writes the turns")
    source: str = Field(description="name of the file that the chat template is from")
    special_tokens: dict[str, str] = Field(description="the tokenizer's, by name: bos_token, eos_token, …")
    system_prompt: str | None = Field(description="content of the system turn; None without one")
    arguments: dict[str, JsonValue] = Field(description="further variables of the chat template")
    exemplars_as: Literal["turns", "text"] = Field(
        description="exemplars are earlier user and assistant turns, or text in the user turn"
    )
    date: str | None = Field(description="what the template takes for today, YYYY-MM-DD; None if it asks for no date")


class MessagesFormat(Section):
    """Prompts as messages, which the server writes as its model reads them."""

    kind: Literal["messages"] = "messages"
    template: str = Field(description="of the content of a user turn: text with one {dialogue}")
    system_prompt: str | None = Field(description="content of the system turn; None without one")
    exemplars_as: Literal["turns", "text"] = Field(
        description="exemplars are earlier user and assistant turns, or text in the user turn"
    )


PromptFormat: TypeAlias = Annotated[TextFormat | ChatFormat, Field(discriminator="kind")]


def described(form: TextFormat | ChatFormat) -> dict[str, Any]:
    """Return everything that determines the text of prompts, as JSON."""
    return form.model_dump(mode="json")
