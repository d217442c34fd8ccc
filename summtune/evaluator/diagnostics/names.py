"""Finds names in a summary that its dialogue does not mention."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
# A word that does not begin with a lower-case Latin letter: few enough to examine each.
_LIKELY = re.compile(r"(?<![^\W\d_])(?<![^\W\d_]['’\-])[^\W\d_a-z][^\W\d_]*(?:['’\-][^\W\d_]+)*")
_TAG = re.compile(r"#\w+#?")
_PART = re.compile(r"['’\-]")
_POSSESSIVE = re.compile(r"['’]s?$", re.IGNORECASE)
# What may precede the beginning of a sentence, including quotation marks, brackets and dashes.
_BEGINNING = re.compile(r"(?:^|[.!?:;…。！？\n\"“”‘«(\[/*|•–—]|(?:^|\s)['’\-])\s*$")

# Days, months and titles in a summary can be right even if the dialogue does not contain them.
_NO_NAME = """
    mr mrs ms miss dr sir madam prof monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat
    sun january february march april may june july august september october november december jan feb mar apr jun jul
    aug sep sept oct nov dec christmas easter internet english person speaker ok
"""
_NO_NAMES = frozenset(_NO_NAME.split())
_DEMONYMS = {
    "french": "france", "spanish": "spain", "dutch": "holland netherlands", "greek": "greece", "danish": "denmark",
    "swiss": "switzerland", "welsh": "wales", "finnish": "finland", "polish": "poland", "swedish": "sweden",
    "norwegian": "norway", "peruvian": "peru", "thai": "thailand", "british": "britain england uk",
    "american": "usa us states",
    "united": "usa us uk america american britain british",
}  # fmt: skip
_ENDINGS = frozenset(
    ("", "n", "an", "ian", "ean", "ese", "ish", "i", "s", "es", "er", "ers", "ns", "ans", "ians", "a", "o", "y", "land")
)
_STEM = 4
"""Fewest letters that two forms of one word share, such as Mexico and Mexican."""
_SURE = 2
"""Capitals inside sentences after which a word also counts as a name at the beginning of a sentence."""


class Lexicon:
    """The words that a test set writes in lower case, and those that it always writes with a capital.

    It replaces a list of English words: "Bill" is not a name if some text of the test set mentions a bill.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        plain: set[str] = set()
        capital: Counter[str] = Counter()
        for text in texts:
            plain.update(filter(str.islower, _WORD.findall(text)))
            for match in _LIKELY.finditer(text):
                word = match.group()
                if _is_capitalised(word) and not _begins(text, match.start()):
                    capital[_bare(word)] += 1
        self._plain = frozenset(plain)
        self._names = frozenset(word for word, times in capital.items() if times >= _SURE and word not in plain)

    def is_plain(self, word: str) -> bool:
        """Return whether the word or its singular also occurs in lower case."""
        return word in self._plain or word.removesuffix("s") in self._plain

    def is_name(self, word: str) -> bool:
        """Return whether the word is a name in any position."""
        return word in self._names


def mentioned(dialogue: str) -> frozenset[str]:
    """Return the words of a dialogue in lower case, in all forms that a summary may use."""
    spoken = [word if word.isalpha() else _bare(word) for word in _WORD.findall(dialogue.lower())]
    parts = [part for word in spoken if not word.isalpha() for part in _PART.split(word)]
    together = ["".join(pair) for pair in pairwise(spoken)]  # face book, Facebook
    return frozenset((*spoken, *parts, *together))


def foreign_names(summary: str, known: frozenset[str], lexicon: Lexicon) -> list[str]:
    """Return the names in ``summary`` that the dialogue does not mention, in the summary's order.

    A name is a word with a capital followed by lower-case letters, inside a sentence, or at its beginning if the
    lexicon knows it as a name. Exceptions: words that the lexicon knows in lower case, days, months, titles, forms of
    a word in the dialogue (Mexico, Mexican), a part of a hyphenated word. Writing without capitals has no names for
    this check.

    Args:
        summary: of a system or a person.
        known: from `mentioned`, of its dialogue.
        lexicon: of the test set.
    """
    text = _TAG.sub(lambda tag: "0" * len(tag.group()), summary)  # a sentence continues after a tag
    found = []
    for match in _LIKELY.finditer(text):
        written = match.group()
        if not _is_capitalised(written):
            continue
        word = _bare(written)
        if _begins(text, match.start()) and not lexicon.is_name(word):
            continue
        parts = [word, *_PART.split(word)]
        if not (
            any(part in known or part in _NO_NAMES for part in parts)
            or lexicon.is_plain(word)
            or _has_form(word, known)
        ):
            found.append(written)
    return found


def _is_capitalised(word: str) -> bool:
    """Return whether a word is written like a name; with many capitals (TV, STDs, IgG) it is an abbreviation."""
    return word[0].isupper() and len(word) > 2 and 2 * sum(map(str.isupper, word)) < len(word)


def _begins(text: str, start: int) -> bool:
    if start > 1 and text[start - 1] == " " and text[start - 2].isalnum():
        return False  # a shortcut for most words: the search gives the same
    return _BEGINNING.search(text, max(0, start - 8), start) is not None


def _bare(word: str) -> str:
    return (word if word.isalpha() else _POSSESSIVE.sub("", word)).lower()


def _has_form(word: str, known: frozenset[str]) -> bool:
    if any(country in known for country in _DEMONYMS.get(word, "").split()):
        return True
    if any(word in people.split() and nation in known for nation, people in _DEMONYMS.items()):
        return True
    stem = word[:_STEM]
    return len(word) >= _STEM and any(each.startswith(stem) and _are_forms(word, each) for each in known)


def _are_forms(a: str, b: str) -> bool:
    same = next(
        (place for place, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b))
    )
    return a[same:] in _ENDINGS and b[same:] in _ENDINGS
