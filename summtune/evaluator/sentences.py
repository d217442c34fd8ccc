"""Splits a text into sentences for ROUGE-Lsum, with rules bundled in an installed package: nothing is downloaded."""

from __future__ import annotations

import re
from importlib.metadata import version

SPLITTER = "sentencex"
LINES = "newline"
"""Name in the protocol for splitting at line ends only, as rouge_score does."""

# sentencex 1.0 ends a sentence at these if a capital or a digit follows.
_ABBREVIATION_AT_END = re.compile(r"(?:^|[\s(\"'])(?:Ms|Mx|vs|No|Nos)\.\s*$")
# White space other than a plain space makes sentencex 1.0 panic between a capital letter and a full stop.
_BLANK = re.compile(r"[^\S\n]")
# UTF-8, and so any library in Rust, cannot represent these.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def splitting(split_sentences: bool) -> str:
    """Return the protocol's name of the splitting: the splitter with its version, or ``newline``."""
    return f"{SPLITTER} {version(SPLITTER)}" if split_sentences else LINES


def sentences(text: str) -> list[str]:
    """Return the sentences of an English text, without those that are only white space.

    A line end always ends a sentence, so that a text with one sentence per line stays as it is.

    Args:
        text: any text.
    """
    from sentencex import segment

    found: list[str] = []
    for line in _BLANK.sub(" ", _LONE_SURROGATE.sub("\ufffd", text)).split("\n"):
        continues = False
        for part in segment("en", line):
            if continues:
                found[-1] += part
            else:
                found.append(part)
            continues = _ABBREVIATION_AT_END.search(part) is not None
    return [sentence for sentence in found if not sentence.isspace()]
