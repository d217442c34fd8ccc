"""Decides how the prompts of a run are written, from its recipe and the files of its model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError
from summtune.base.files import is_file
from summtune.base.hints import hint_or_list
from summtune.base.places import is_local
from summtune.machine.model_limits import config_of
from summtune.prompts.chat_template import (
    ChatTemplate,
    own_template,
    read_template,
    special_tokens_of,
    variables_of,
)
from summtune.prompts.formats import ChatFormat, MessagesFormat, PromptFormat, TextFormat
from summtune.prompts.rendering import rendering_of
from summtune.prompts.templates import template_text
from summtune.recipe.families import facts_about, family_of
from summtune.recipe.keys import EndpointRecipe, LocalRecipe, PromptRecipe
from summtune.runs.records import Dialogue

_SET_HERE = frozenset(("messages", "add_generation_prompt", "tools", "documents", "strftime_now", "raise_exception"))
_THINKING = "enable_thinking"
_PROBES = ("A: Is it noon?\nB: Yes.", "They ask about noon.", "A: Is it cold?\nB: It is.", "It is cold.")


def prompt_format(recipe: LocalRecipe, folder: Path, date: str) -> PromptFormat:
    """Return how the prompts of a run are written.

    Args:
        recipe: paths resolved.
        folder: of the model's files.
        date: on which the run began, YYYY-MM-DD: what a chat template takes for today, also when the run resumes.

    Raises:
        InputError: the chat template cannot be read, or the model has none and the recipe asks for it.
    """
    template = template_text(recipe.prompt_template)
    chat = _chat_template(recipe, folder)
    if chat is None:
        return TextFormat(template=template)
    return ChatFormat(
        template=template,
        chat_template=chat.text,
        source=chat.source,
        special_tokens=chat.special_tokens,
        system_prompt=recipe.system_prompt,
        arguments=_without_thoughts(chat) | recipe.chat_template_kwargs,
        exemplars_as=recipe.exemplars.show_as if isinstance(recipe, PromptRecipe) else "turns",
        date=date if "strftime_now" in chat.text else None,
    )


def messages_format(recipe: EndpointRecipe) -> MessagesFormat:
    """Return how the prompts of a model behind an API are written."""
    return MessagesFormat(
        template=template_text(recipe.prompt_template),
        system_prompt=recipe.system_prompt,
        exemplars_as=recipe.exemplars.show_as,
    )


def _without_thoughts(chat: ChatTemplate) -> dict[str, Any]:
    """Return the argument with which a template of a reasoning model asks for the answer alone, if it has one."""
    return {_THINKING: False} if _THINKING in variables_of(chat.text, chat.source) else {}


def problems_of_format(recipe: LocalRecipe, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what a recipe asks of prompts that its model cannot do: the key of the recipe, and why.

    A chat template is tried with a short dialogue, and with exemplars if the recipe shows some.

    Args:
        recipe: paths resolved.
        folder: of the model's files, which is of a known family.
    """
    if is_local(recipe.chat_template) and not is_file(Path(recipe.chat_template)):
        return  # resolve_paths reports it
    try:
        form = prompt_format(recipe, folder, "2026-01-01")
    except InputError as error:
        yield "chat_template", str(error)
        return
    if isinstance(form, TextFormat):
        yield from _without_chat(recipe, folder)
        return
    variables = variables_of(form.chat_template, form.source)
    unread = [name for name in form.arguments if name not in variables or name in _SET_HERE]
    for name in unread:
        known = sorted(variables - _SET_HERE - form.special_tokens.keys())
        why = (
            "is set by summtune"
            if name in _SET_HERE
            else f"is not read by the chat template{hint_or_list(name, known) if known else ''}"
        )
        yield f"chat_template_kwargs.{name}", f"{name} {why} (got it in chat_template_kwargs); remove it"
    if not unread:
        yield from _tried(recipe, form)


def _chat_template(recipe: LocalRecipe, folder: Path) -> ChatTemplate | None:
    """Return the chat template that writes the prompts; None for plain text."""
    asked = recipe.chat_template
    family = family_of(config_of(folder))
    if asked == "none" or family is None or not facts_about(family).continues_prompt():
        return None
    if is_local(asked):
        return ChatTemplate(read_template(Path(asked)), Path(asked).name, special_tokens_of(folder))
    own = own_template(folder)
    if own is None and asked == "tokenizer":
        raise InputError(
            f"the model has no chat template (got `chat_template: tokenizer` for {folder}); use `auto` or `none` for "
            "plain text, or name a Jinja file"
        )
    return own


def _without_chat(recipe: LocalRecipe, folder: Path) -> Iterator[tuple[str, str]]:
    family = family_of(config_of(folder))
    if family is not None and not facts_about(family).continues_prompt():
        why = "for an encoder-decoder model, whose prompts are plain text; remove it"
        if recipe.chat_template not in ("auto", "none"):
            yield "chat_template", f"chat_template has no effect {why}"
    else:
        why = f"without a chat template (got none in {folder}); remove it, or name a Jinja file in chat_template"
    if recipe.system_prompt is not None:
        yield "system_prompt", f"system_prompt has no effect {why}"
    if recipe.chat_template_kwargs:
        yield "chat_template_kwargs", f"chat_template_kwargs has no effect {why}"
    if isinstance(recipe, PromptRecipe) and recipe.exemplars.show_as == "text":
        yield "exemplars.show_as", f"show_as has no effect {why}"


def _tried(recipe: LocalRecipe, form: ChatFormat) -> Iterator[tuple[str, str]]:
    """Yield what goes wrong when the template writes a short conversation."""
    dialogue, summary, shown, answer = _PROBES
    solved = [Dialogue("", shown, (answer,))] * (recipe.shots if isinstance(recipe, PromptRecipe) else 0)
    rendering = rendering_of(form)
    try:
        prompt = rendering.prompt(dialogue, solved)
        whole = rendering.completed(dialogue, solved, summary)
    except InputError as error:
        yield "chat_template", str(error)
        return
    needed: list[tuple[str, str, Any]] = [("chat_template", "the dialogue", dialogue)]
    needed += [("chat_template", "the exemplars", text) for text in ((shown, answer) if solved else ())]
    needed += [("system_prompt", "the system turn", form.system_prompt)] if form.system_prompt else []
    for key, what, text in needed:
        if text.strip() not in prompt:
            yield (
                key,
                f"the chat template does not write {what} (got none of it from {form.source}); use another template",
            )
            return
    if wrong := _wrong_answer(recipe, form, prompt, whole, summary):
        yield "chat_template", f"the chat template {wrong}"


def _wrong_answer(recipe: LocalRecipe, form: ChatFormat, prompt: str, whole: str, summary: str) -> str | None:
    """Return what is wrong with an answer in a conversation; what only a training needs is not asked of a prompt.

    The worker checks the tokens of all examples of a training (`summtune.work.supervision`).
    """
    bos = form.special_tokens.get("bos_token")
    if bos and 2 * bos in prompt:
        return f"writes two beginning-of-sequence tokens (got {2 * bos} from {form.source}); remove one"
    if summary not in whole:
        return f"does not write answers (got none from {form.source}); use another one"
    if recipe.kind == "train" and not whole.startswith(prompt):
        return (
            f"changes the prompt once the answer follows it (got {form.source}), so the model would learn from another "
            "prompt than it is asked with; set what it needs in chat_template_kwargs (`enable_thinking: false` for "
            "many reasoning models), or use another one"
        )
    if recipe.kind == "train" and not whole.partition(summary)[2].strip():
        return f"writes nothing after an answer (got {form.source}), so the model would not learn to stop; add its end"
    return None
