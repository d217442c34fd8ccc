"""Renders a report as Markdown, with a summary of the page."""

from __future__ import annotations

from summtune.base.visible import one_line, visible
from summtune.report.contents import USE_NOTE, Contents
from summtune.report.scored_dialogues import ScoredDialogue, SystemSummary
from summtune.report.table import escape_markdown
from summtune.report.table import to_markdown as table_to_markdown

SHOWN_DIALOGUES = 5


def to_markdown(contents: Contents) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    parts = [f"# {escape_markdown(contents.title)}", escape_markdown(contents.subtitle) + "."]
    if contents.verdict:
        parts.append(_list(contents.verdict))
    if contents.warnings:
        parts += ["## What to know before trusting these scores", _list(contents.warnings)]
    parts += ["## Scores", table_to_markdown(contents.scores).rstrip(), escape_markdown(contents.protocol)]
    if contents.differences:
        parts += ["## Differences", table_to_markdown(contents.differences).rstrip()]
    parts += _costs(contents)
    checks = contents.diagnostics.table()
    if checks:
        parts += ["## Diagnostics", table_to_markdown(checks).rstrip()]
    sentences = (*contents.diagnostics.notes, *contents.diagnostics.pairs)
    if sentences:
        parts.append(_list(sentences))
    for details in contents.details:
        parts.append(f"## How {escape_markdown(details.name)} was made")
        versions = ", ".join(f"{package} {version}" for package, version in details.versions.items())
        facts = [*details.entries, *([("Versions", versions)] if versions else [])]
        parts.append(_list([f"{title}: {text}" for title, text in facts]))
        parts.append(fenced(details.recipe, "yaml"))
    shown = contents.scored_dialogues[:SHOWN_DIALOGUES]
    parts.append(f"## The first {len(shown)} of {contents.dialogue_count} dialogues")
    parts += [_dialogue_section(dialogue) for dialogue in shown]
    return "\n\n".join(parts) + "\n"


def fenced(text: str, language: str = "") -> str:
    """Return a code block that no text in it can close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{visible(text).rstrip()}\n{fence}"


def code(text: str) -> str:
    """Return one line as inline code that no text in it can close."""
    shown, fence = one_line(text), "`"
    while fence in shown:
        fence += "`"
    return f"`{shown}`" if len(fence) == 1 else f"{fence} {shown} {fence}"


def _costs(contents: Contents) -> list[str]:
    parts = []
    if contents.costs is not None:
        parts.append(table_to_markdown(contents.costs).rstrip())
    if contents.break_even is not None:
        parts.append(_list(contents.break_even.sentences + contents.break_even.notes))
    if contents.use is not None:
        parts += [table_to_markdown(contents.use).rstrip(), escape_markdown(USE_NOTE)]
    return ["## Costs", *parts] if parts else []


def _list(sentences: tuple[str, ...] | list[str]) -> str:
    return "\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences)


def _dialogue_section(dialogue: ScoredDialogue) -> str:
    references = [f"**Reference**: {escape_markdown(text)}" for text in dialogue.references]
    lines = [*references, *(_output(output) for output in dialogue.outputs)]
    turns = [fenced(dialogue.dialogue), ""] if dialogue.dialogue else []
    return "\n".join([f"### {escape_markdown(dialogue.id)}", "", *turns, *(f"- {x}" for x in lines)])


def _output(output: SystemSummary) -> str:
    notes = f" ({', '.join(output.notes)})" if output.notes else ""
    score = f" [{output.score}]" if output.score else ""
    return f"**{escape_markdown(output.system)}**{score}: {escape_markdown(output.text) or '*nothing*'}{notes}"
