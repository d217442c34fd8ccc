"""Prints what a model reads and is trained on: tokens with borders, the trained ones marked and coloured."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from summtune.base import numbers
from summtune.base.console import SafeConsole, labelled
from summtune.base.visible import message_line
from summtune.runs.inspection import Inspection, MessagesInspection, ShownExample, ShownRole, ShownToken
from summtune.runs.supervision import described

_BORDER = "│"
_TRAINED = ("⟦", "⟧")
_CUT = "✂"
_SIGNS = str.maketrans({"\n": "⏎", "\t": "⇥", "\r": "␍"})


def print_inspection(name: str, found: Inspection, console: SafeConsole) -> None:
    """Print an inspection.

    Args:
        name: of the recipe, or of the system in a comparison.
        found: what was found.
        console: to print to.
    """
    console.print(Text.assemble((message_line(name), "bold underline"), f"  {message_line(found.model)}"))
    length = f"at most {numbers.count(found.sequence_len)} tokens"
    _line(console, "prompts", f"written by {found.template} ({found.template_sha256[:8]}), {length}")
    _line(console, "summaries", _endings(found))
    for role, each in found.roles.items():
        console.print()
        _line(console, role, _counts(each, found.target_len))
        for example in each.shown:
            _print_example(example, console)
    if found.supervision is not None:
        console.print()
        _line(console, "supervision", described(found.supervision))


def print_messages(name: str, found: MessagesInspection, console: SafeConsole) -> None:
    """Print the messages that a server is sent.

    Args:
        name: of the recipe, or of the system in a comparison.
        found: what was found.
        console: to print to.
    """
    console.print(Text.assemble((message_line(name), "bold underline"), f"  {message_line(found.model)}"))
    _line(console, "prompts", f"messages to {found.url}, which its server writes as the model reads them")
    stops = f"end before {' or '.join(map(repr, found.stops))}, or" if found.stops else "end"
    _line(console, "summaries", f"{stops} after {numbers.count(found.max_new_tokens)} tokens at the latest")
    _line(console, "test", numbers.counted(found.dialogues, "dialogue"))
    for example in found.shown:
        console.print(Text(f"\n  {message_line(example.id)}", "bold"), soft_wrap=True)
        for message in example.messages:
            console.print(Text(f"  {message['role']}", "green"))
            console.print(Text("\n".join(f"    {line}" for line in message["content"].split("\n"))), soft_wrap=True)


def _endings(found: Inspection) -> str:
    ends = " or ".join(f"{end.text} ({end.id})" for end in found.ends)
    stops = " or ".join(repr(stop) for stop in found.stops)
    texts = [f"end with {ends or 'no token'}", *([f"or before {stops}"] if stops else [])]
    return f"{', '.join(texts)}, or after {numbers.count(found.max_new_tokens)} tokens"


def _counts(role: ShownRole, target_len: int | None) -> str:
    texts = [numbers.counted(role.dialogues, "dialogue")]
    if role.longest_completion is not None:
        texts.append(numbers.counted(role.examples, "example"))
    texts.append(f"prompts of up to {numbers.count(role.longest_prompt)} tokens")
    if role.longest_completion is not None and target_len is not None:
        limit = f"target_len {numbers.count(target_len)}"
        texts.append(f"completions of up to {numbers.count(role.longest_completion)} ({limit})")
    texts += [f"{numbers.count(role.cut)} cut"] if role.cut else []
    texts += [f"{numbers.count(role.left_out)} left out"] if role.left_out else []
    return ", ".join(texts)


def _print_example(example: ShownExample, console: SafeConsole) -> None:
    texts = [f"{numbers.count(len(example.prompt))} prompt tokens"]
    texts += [f"{numbers.count(len(example.completion))} trained tokens"] if example.completion else []
    texts += [f"exemplars {', '.join(example.exemplars)}"] if example.exemplars else []
    if example.cut:
        texts.append(f"cut ({_CUT})" if example.cut_before is not None else "cut")
    console.print(Text(f"\n  {message_line(example.id)}: {message_line(', '.join(texts))}", "bold"), soft_wrap=True)
    shown = Text("  ")
    if example.cut_before is None:
        shown.append_text(_joined(example.prompt))
    else:
        shown.append_text(_joined(example.prompt[: example.cut_before]))
        shown.append(_CUT, "bold yellow")
        shown.append_text(_joined(example.prompt[example.cut_before :]))
    if example.completion:
        opening, closing = _TRAINED
        shown.append(opening, "bold green")
        shown.append_text(_joined(example.completion, "green underline"))
        shown.append(closing, "bold green")
    console.print(shown, soft_wrap=True)


def _joined(tokens: Sequence[ShownToken], style: str = "") -> Text:
    joined = Text()
    for place, token in enumerate(tokens):
        if place:
            joined.append(_BORDER, "dim")
        joined.append(token.text.translate(_SIGNS), style)
    return joined


def _line(console: SafeConsole, name: str, text: str) -> None:
    console.print(labelled(f"{message_line(name):>11}", text), soft_wrap=True)
