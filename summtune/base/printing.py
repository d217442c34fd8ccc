"""Prints to standard output and standard error: text for people with hidden characters shown, data unchanged."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from summtune.base.visible import HIDDEN, message_line, visible


def use_any_encoding() -> None:
    """Let this process print characters that the terminal's encoding lacks as ``\\u…`` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests and notebooks replace these streams
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print a message on stderr. Its further lines are indented, so that no value in it can forge a message."""
    print(visible(text).replace("\n", "\n  "), file=sys.stderr, flush=True)


def say_lines(lines: Iterable[str]) -> None:
    """Print messages on stderr, one per line."""
    for line in lines:
        print(message_line(line), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print an answer on stdout: a version, a path."""
    print(visible(text))


def show_data(text: str) -> None:
    """Print requested text on stdout: unchanged if a program reads it, with hidden characters shown on a terminal."""
    print(visible(text) if sys.stdout.isatty() else text)


def show_json(value: Any, indent: int | None = 2) -> None:
    """Print a JSON value on stdout that is safe to display and that the encoding of stdout can represent."""
    print(json_text(value, sys.stdout.encoding or "utf-8", indent))


def json_text(value: Any, encoding: str = "utf-8", indent: int | None = 2) -> str:
    """Return the JSON of ``value``, with hidden characters and those that ``encoding`` lacks as ``\\u`` escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        return HIDDEN.sub(_escaped, text).encode(encoding).decode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]
