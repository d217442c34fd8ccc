"""Splits texts into words for the checks of repetition and copying."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import regex

from summtune.base.writing import UNSPACED_CHARACTER, UNSPACED_LETTER, is_unspaced

# A speaker tag is one word, an apostrophe does not split a word, and in writing without spaces each character is one.
_PART = rf"[\p{{L}}\p{{M}}\p{{N}}\u200c\u200d--{UNSPACED_LETTER}]"
_WORD = regex.compile(
    rf"(?V1)#\w+#|{UNSPACED_CHARACTER}|[\p{{L}}\p{{N}}--{UNSPACED_LETTER}]{_PART}*(?:['’](?:(?!\p{{N}}){_PART})+)*"
)
_ASCII_WORD = re.compile(r"#\w+#|[a-z0-9]+(?:'[a-z]+)*", re.ASCII)  # the same, faster
SHOWN_CHARACTERS = 80
"""Length to which a shown text is cut."""


def words(text: str) -> list[str]:
    """Return the words of ``text`` in lower case, without punctuation; a tag such as ``#Person1#`` is one word."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text.lower())


def characters_a_word(said: Sequence[str]) -> int:
    """Return how many of these words correspond to one English word: 2 if most are single characters, else 1.

    A word of Chinese or Japanese has about two characters, so limits in words are doubled for them.
    """
    return 2 if 2 * sum(not word.isascii() and is_unspaced(word) for word in said) > len(said) else 1


def runs(sequence: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Return every run of ``length`` adjacent words, in order: ``max(0, n - length + 1)`` runs."""
    return zip(*(sequence[start:] for start in range(length)), strict=False)


def shown(text: str) -> str:
    """Return ``text`` on one line of at most ``SHOWN_CHARACTERS`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1].rstrip() + "…"
