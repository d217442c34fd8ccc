"""Divides texts into words, for the checks that look for repeated and copied ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import regex

from summtune.base.writing import UNSPACED_CHARACTER, UNSPACED_LETTER, is_unspaced

# A speaker tag is one word, an apostrophe divides none, and in writing without spaces each character is one.
_PART = rf"[\p{{L}}\p{{M}}\p{{N}}\u200c\u200d--{UNSPACED_LETTER}]"
_WORD = regex.compile(
    rf"(?V1)#\w+#|{UNSPACED_CHARACTER}|[\p{{L}}\p{{N}}--{UNSPACED_LETTER}]{_PART}*(?:['’](?:(?!\p{{N}}){_PART})+)*"
)
_ASCII_WORD = re.compile(r"#\w+#|[a-z0-9]+(?:'[a-z]+)*", re.ASCII)  # the same, faster
SHOWN_CHARACTERS = 80
"""Length to which an offending text is cut where it is shown."""


def words(text: str) -> list[str]:
    """Return the words of ``text`` in lower case, without punctuation; a tag such as ``#Person1#`` is one word."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text.lower())


def characters_a_word(said: Sequence[str]) -> int:
    """Return how many of these words are about one word of English: 2 where most are single characters, else 1.

    A word of Chinese or Japanese has about two, and so what no person repeats or copies is longer in characters.
    """
    return 2 if 2 * sum(not word.isascii() and is_unspaced(word) for word in said) > len(said) else 1


def runs(sequence: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Return every run of ``length`` neighbouring words, in their order: ``max(0, n - length + 1)`` of them."""
    return zip(*(sequence[start:] for start in range(length)), strict=False)


def shown(text: str) -> str:
    """Return ``text`` on one line of at most ``SHOWN_CHARACTERS`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1].rstrip() + "…"
