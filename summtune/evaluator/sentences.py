"""Splits a text into sentences, for ROUGE-Lsum; the rules come with the installed package, nothing is downloaded."""

from __future__ import annotations

import re
from importlib.metadata import version

SPLITTER = "sentencex"
LINES = "newline"
"""What the protocol calls splitting at line ends only, as rouge_score does on its own."""

# sentencex 1.0 takes these for the end of a sentence when a capital or a digit follows.
_ABBREVIATION_AT_END = re.compile(r"(?:^|[\s(\"'])(?:Ms|Mx|vs|No|Nos)\.\s*$")
# White space that is no plain space makes sentencex 1.0 panic after a capital letter and before a full stop.
_BLANK = re.compile(r"[^\S\n]")
# What no UTF-8 can hold, and so no library in Rust.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def splitting(split_sentences: bool) -> str:
    """Return what the protocol says of the splitting: the splitter with its version, or ``newline``."""
    return f"{SPLITTER} {version(SPLITTER)}" if split_sentences else LINES


def sentences(text: str) -> list[str]:
    """Return the sentences of an English text, without those that are only white space.

    A line end always ends a sentence, so that a text which already has one sentence a line stays as it is.

    Args:
        text: any text.
    """
    from sentencex import segment

    found: list[str] = []
    for line in _BLANK.sub(" ", _LONE_SURROGATE.sub("\ufffd", text)).split("\n"):
        goes_on = False
        for part in segment("en", line):
            if goes_on:
                found[-1] += part
            else:
                found.append(part)
            goes_on = _ABBREVIATION_AT_END.search(part) is not None
    return [sentence for sentence in found if not sentence.isspace()]
