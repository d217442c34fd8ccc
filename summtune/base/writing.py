"""Splits text of any script into words, including scripts without spaces."""

from __future__ import annotations

import functools
import re
import unicodedata

import regex

UNSPACED_LETTER = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc&&\p{L}]"
"""A letter of a script that is written without spaces between words, for patterns with ``(?V1)``."""

UNSPACED_CHARACTER = rf"(?={UNSPACED_LETTER})\X"
"""Such a letter with the vowel signs and tone marks on it: a grapheme cluster (Unicode Standard Annex 29)."""

_RUN = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*"
_SPACED_RUN = rf"[\p{{L}}\p{{N}}--{UNSPACED_LETTER}][\p{{L}}\p{{M}}\p{{N}}--{UNSPACED_LETTER}]*"

_ASCII_WORDS = re.compile("[a-z0-9]+")
_WORDS = regex.compile(rf"(?V1){_RUN}")
_CHARACTERS = regex.compile(rf"(?V1){UNSPACED_CHARACTER}|{_SPACED_RUN}")
_UNSPACED = regex.compile(rf"(?V1){UNSPACED_LETTER}")

# Joiners, soft hyphens, direction marks, variation selectors, the Arabic tatweel: they do not change the word.
_IGNORED = regex.compile(
    "[\u00ad\u034f\u0640\u061c\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]"
)


def unicode_words(text: str) -> list[str]:
    """Return the runs of letters, digits and their combining marks, in any script, folded as `folded` does."""
    return _ASCII_WORDS.findall(text.lower()) if text.isascii() else list(_WORDS.findall(folded(text)))


def characters(text: str) -> list[str]:
    """Return the words of ``text``, where each character of a script without spaces is one word.

    A character is a grapheme cluster: a Thai consonant with its vowel and tone marks is one. Latin words, numbers and
    all scripts with spaces, including Korean, are split as by `unicode_words`.
    """
    return _ASCII_WORDS.findall(text.lower()) if text.isascii() else list(_CHARACTERS.findall(folded(text)))


def folded(text: str) -> str:
    """Return ``text`` without differences of case, width and composition (Unicode NFKC and full case folding).

    Zero-width characters that carry no meaning are removed.
    """
    wide = unicodedata.normalize("NFKC", text).casefold()
    plain = str(_IGNORED.sub("", unicodedata.normalize("NFKC", wide)))
    # NFKC decomposes the vowel am of Thai and Lao, and its second half would count as a separate character.
    return plain.replace("\u0e4d\u0e32", "\u0e33").replace("\u0ecd\u0eb2", "\u0eb3")


def is_unspaced(text: str) -> bool:
    """Return whether ``text`` has a letter of a script that is written without spaces."""
    return not text.isascii() and _UNSPACED.search(text) is not None


def word_count(text: str) -> int:
    """Return the number of words in ``text``: pieces between spaces; in scripts without spaces, characters."""
    return len(_CHARACTERS.findall(text)) if is_unspaced(text) else len(text.split())


def has_capitals(text: str) -> bool:
    """Return whether at least half the letters of ``text`` are of a script with capitals; True without letters."""
    if text.isascii():
        return True
    letters = list(filter(str.isalpha, text))
    return 2 * sum(letter.lower() != letter.upper() for letter in letters) >= len(letters)


@functools.lru_cache(maxsize=4096)
def script(character: str) -> str | None:
    """Return the English name of the script of a letter or combining mark ("Cyrillic"); None for anything else."""
    if unicodedata.category(character)[0] not in "LM":
        return None
    name = unicodedata.name(character, "").split(" ", 1)[0]
    return _SCRIPTS.get(name, name.title()) or None


_SCRIPTS = {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "KATAKANA-HIRAGANA": "Katakana",
    "FULLWIDTH": "Latin",
    "HALFWIDTH": "Katakana",
    "COMBINING": "",
}
