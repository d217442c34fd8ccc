"""Finds speakers in a summary that the dialogue lacks, and speakers whose tag is spelled differently.

A dialogue names its speakers with tags (``#Person1#``), in brackets (``[Doctor]``, ``<speaker1>``) or by number or
letter (``Speaker 1:``, ``P1:``, ``speaker_a:``). Plain names (``Anna:``, ``Agent:``) are ordinary words of a summary;
`summtune.evaluator.diagnostics.names` finds those that the dialogue lacks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_TAG = re.compile(r"#(\w*[^\W\d]\w*)#")
_IN_BRACKETS = r"\[[^\W\d][\w .\-]{0,30}\]|<[^\W\d][\w .\-]{0,30}>"
_BRACKETED = re.compile(rf"\s*({_IN_BRACKETS})")
_NUMBERED = re.compile(r"\s*((?:[^\W\d_]+)[ _\-]?(?:\d+|(?<=[ _\-])[^\W\d_]))\s*[:：]")
_NAMED = re.compile(r"\s*([^\W\d_][\w .'’\-]{0,30}?)\s*[:：]")
_PLAIN_MARKS = str.maketrans("＃［］＜＞", "#[]<>")
_NO_LETTER = re.compile(r"[\W_]+")
_PARTS = re.compile(r"[A-Z]?[^\W\dA-Z_]+|[A-Z]+|[^\W_]+")
_INDEX = re.compile(r"\d+$|(?<=[ _\-])[^\W\d_]$")

_ALIKE = ("person", "speaker")
"""Interchangeable words: "Speaker 1" is #Person1#."""
_INITIAL = re.compile(r"[ps](?=\d)")
_SHORTEST_SPACED = 3
"""Fewest letters of a word that a space may separate from its number: "Person 1", but "P1"."""


@dataclass(frozen=True)
class Misnamed:
    """The wrong speaker tags of a summary, in its order.

    Args:
        absent: speakers that the dialogue lacks.
        respelled: speakers of the dialogue with another spelling of their tags.
    """

    absent: tuple[str, ...] = ()
    respelled: tuple[str, ...] = ()


class Speakers:
    """The speakers that a dialogue names with tags, in brackets, by number or by letter.

    Args:
        dialogue: its text. Brackets and numbers mark speakers if half of the lines begin with them.
    """

    def __init__(self, dialogue: str) -> None:
        text = dialogue.translate(_PLAIN_MARKS)
        lines = [line for line in text.split("\n") if line.strip()]
        found = {match.group() for match in _TAG.finditer(text)} if "#" in text else set()
        self._brackets = False
        for kind in (_BRACKETED, _NUMBERED):
            labels = [match[1] for match in map(kind.match, lines) if match]
            if labels and 2 * len(labels) >= len(lines):
                found.update(labels)
                self._brackets |= kind is _BRACKETED
        if self._brackets:
            found.update(re.findall(_IN_BRACKETS, text))
        self._written = frozenset(found)
        # In the dialogue's spelling: its marks may be full-width.
        places = re.finditer("|".join(map(re.escape, sorted(found, key=len, reverse=True))), text) if found else ()
        self._spelled = frozenset(dialogue[place.start() : place.end()] for place in places)
        names = {match[1] for match in map(_NAMED.match, lines) if match}
        self._keys = frozenset(map(_key, found | names))
        self._stems = frozenset(_stem(written) for written in found)
        self._lettered = any(_INDEX.search(label) and not label[-1].isdigit() for label in map(_bare, found))

    def misnamed(self, summary: str) -> Misnamed:
        """Return the speakers in ``summary`` that the dialogue lacks, and those that it spells differently.

        If the dialogue has no speakers of these kinds, only a complete tag counts, so a hashtag in a chat does not.
        """
        if "#" not in summary and "＃" not in summary and not self._written:
            return Misnamed()
        absent, respelled = [], []
        text = summary.translate(_PLAIN_MARKS)
        for match in _likeness(self._stems, self._brackets, self._lettered).finditer(text):
            written = match.group()
            shown = summary[match.start() : match.end()].strip()
            if shown in self._spelled:
                continue
            if self._knows(_key(written)):
                respelled.append(shown)
            elif self._is_tag(written):
                absent.append(shown)
        return Misnamed(tuple(absent), tuple(respelled))

    def _knows(self, key: str) -> bool:
        whose = next((key.removeprefix(word) for word in _ALIKE if key.startswith(word)), _INITIAL.sub("", key))
        return key in self._keys or any(word + whose in self._keys for word in _ALIKE)

    def _is_tag(self, written: str) -> bool:
        if _TAG.fullmatch(written):
            return True
        # P3 may mean anything unless the dialogue has speakers such as P1.
        initial = _INITIAL.match(_key(written))
        return bool(self._written) and (initial is None or initial.group() in self._stems)


def _bare(written: str) -> str:
    return written.strip("#[]<>:： ")


def _key(written: str) -> str:
    """Return the common form of all spellings of a tag: ``person1``."""
    return _NO_LETTER.sub("", written).casefold()


def _stem(written: str) -> str:
    """Return the word of a label without its number or letter, its parts separated by spaces: ``customer service``."""
    word = _INDEX.sub("", _bare(written))
    return " ".join(_PARTS.findall(word)).casefold()


@lru_cache(maxsize=64)
def _likeness(stems: frozenset[str], brackets: bool, lettered: bool) -> re.Pattern[str]:
    """Return a pattern of tags and attempts at tags, complete tags first so that two neighbours stay two."""
    words = sorted(stems | set(_ALIKE) - {""}, key=len, reverse=True)
    stem = "(?i:" + "|".join(r"[ _\-]?".join(map(re.escape, word.split())) for word in words if word) + ")"
    capital = "|".join(re.escape(word.capitalize()) for word in words if len(word) >= _SHORTEST_SPACED)
    upper = "|".join(re.escape(word.upper()) for word in words if len(word) >= _SHORTEST_SPACED)
    index = r"[ _\-]?(?:\d+|[A-Z](?!\w))"
    kinds = [
        r"(?<!#)#\w*[^\W\d]\w*#(?!#(?!\w))",
        rf"#+\s?{stem}(?:{index}|(?!\w))(?:\s?#+)?",
        rf"\b{stem}\s?#\s?\d+\b",
        rf"\b{stem}(?:{index})?#+",
        rf"[\[<({{]\s?{stem}{index}\s?[\])>}}]",
        *([_IN_BRACKETS] if brackets else []),
        rf"\b(?:{capital}|{upper})[ _\-]\d+\b",
        rf"\b{stem}[_\-]?\d+\b",
        r"\b[PS]\d\b",
        *([rf"\b{stem}(?:[ _\-][A-HJ-Z]|_[a-z])\b"] if lettered else []),
    ]
    return re.compile("|".join(kinds))
