"""Finds numbers in a summary that its dialogue does not contain, in any notation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from summtune.evaluator.diagnostics.chinese_numbers import chinese_numbers, with_figures

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_SCALES = {"hundred": 100.0, "thousand": 1e3, "grand": 1e3, "million": 1e6, "billion": 1e9}
_FACTORS = {**_SCALES, "k": 1e3, "m": 1e6}
_VALUES = {
    **{word: float(value) for value, word in enumerate(_ONES.split())},
    **{word: float(value) for value, word in enumerate(_ORDINALS.split())},
    **{word: 10.0 * value for value, word in enumerate(_TENS.split(), start=2)},
    **{f"{word[:-1]}ieth": 10.0 * value for value, word in enumerate(_TENS.split(), start=2)},
    **{f"{word[:-1]}ies": 10.0 * value for value, word in enumerate(_TENS.split(), start=2)},
    "dozen": 12.0,
}
_ALSO = {
    "half": (0.5, 30, 50),
    "quarter": (0.25, 15, 45, 25),
    "noon": (12,),
    "midday": (12,),
    "midnight": (12, 0),
    **dict.fromkeys(("twice", "double", "both", "pair", "couple"), (2,)),
    **dict.fromkeys(("triple", "thrice"), (3,)),
    "decade": (10,),
    "century": (100,),
}
"""Numbers that these words may stand for; used for dialogues only."""

_MONTHS = {
    name: float(month)
    for month, names in enumerate(
        (
            *("January Jan", "February Feb", "March Mar", "April Apr", "May", "June Jun", "July Jul", "August Aug"),
            *("September Sept Sep", "October Oct", "November Nov", "December Dec"),
        ),
        start=1,
    )
    for name in names.split()
}

_UNREMARKABLE = {float(value) for value in range(4)}
"""Never foreign: summaries count what a dialogue lists ("two reasons"), and "first" is hardly a number."""
_LONGEST = 12
"""Most number words that are read together as one: a telephone number."""

_FIRST = "[" + "".join(sorted({word[0] for word in (*_VALUES, *_SCALES, *_ALSO, "oh", "point")})) + "]"
_WORDS = "|".join((*_VALUES, *(f"{scale}(?:s|th)?" for scale in _SCALES), *_ALSO, "oh", "point"))
# For lower-case text; the first letter alone excludes most words.
_TOKEN = re.compile(rf"\d+(?:,\d{{3}})+(?!\d)|\d+|\b(?={_FIRST})(?:{_WORDS})\b")
_PLAIN_MARKS = str.maketrans("＃：．，٫٬", "#:.,.,")
_TAG = re.compile(r"#\w+#?")
_BARE_TAG = re.compile(r"[Pp]erson\s?\d+")
_JOIN = re.compile(r"[\s,.'’()\-–—]*(?:\band\b\s*)?(?:\ba\b\s*)?")
# For summaries, only what is certainly one number: "of twenty, five came" has two.
_CLOSE_JOIN = re.compile(r"[\s-]*(?:\band\b\s*)?(?:\ba\b\s*)?")
_MONTH = re.compile(rf"\b(?=[JFMASOND])(?:{'|'.join(_MONTHS)})\b")
_LARGE = re.compile(r"(\d+(?:\.\d+)?)([km])\b", re.IGNORECASE)
_SCALED = re.compile(r"\s?(hundred|thousand|million|billion)\b|([km])\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_LIST_NUMBER = re.compile(r"(?:^|[.:;!?]\s+|\n\s*)(\d{1,2}[.)])(?=\s)")
_FIGURE = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:[.:]\d+)*")


@dataclass(frozen=True)
class _Token:
    """A number word or a row of digits; ``value`` is None for "point", ``scale`` is true for "thousand"."""

    value: float | None
    scale: bool
    digits: str
    also: tuple[float, ...] = ()


def foreign_numbers(summary: str, dialogue: Numbers) -> list[str]:
    """Return the numbers of ``summary`` that the dialogue does not contain, in lower case, in the summary's order.

    "3", "three" and "third" are one number; 10:30 is known if the dialogue says half past ten, 2008 if it says oh
    eight. Numbers in speaker tags do not count. In doubt a number counts as known: 0 to 3, and all that neighbouring
    numbers of the dialogue give when they are read together.
    """
    text = _with_plain_marks(summary)
    return [written for written, value in _written(text) if not _is_known(written, value, dialogue.values)]


class Numbers:
    """All numbers that a dialogue may contain."""

    def __init__(self, dialogue: str) -> None:
        text = _without_tags(_with_plain_marks(dialogue))
        self.values = _UNREMARKABLE | chinese_numbers(dialogue)
        for match in _FIGURE.finditer(text):
            if ":" not in match.group() and match.group().count(".") < 2:
                self.values.add(_number(match.group()))
        for row in _rows(text.lower(), _JOIN):
            self.values |= _readings([token for token, _, _ in row])
        self.values.update(round(float(match[1]) * _FACTORS[match[2].lower()], 6) for match in _LARGE.finditer(text))
        self.values.update(_MONTHS[match.group()] for match in _MONTH.finditer(text))
        self.values.update([value % 100 for value in self.values if 1900 < value < 2100])


def _with_plain_marks(text: str) -> str:
    """Return ``text`` with ASCII marks inside numbers (digits may be of any script).

    A figure with Chinese characters after it (3万, 1.2億) is written out.
    """
    return text if text.isascii() else with_figures(text.translate(_PLAIN_MARKS))


def _without_tags(text: str) -> str:
    return _BARE_TAG.sub(" ", _TAG.sub(" ", text))


def _number(figure: str) -> float:
    return float(figure.replace(",", ""))


def _rows(text: str, join: re.Pattern[str]) -> Iterator[list[tuple[_Token, int, int]]]:
    """Yield the groups of adjacent numbers, separated by no more than ``join``, each number with its span."""
    row: list[tuple[_Token, int, int]] = []
    for match in _TOKEN.finditer(text):
        if row and not join.fullmatch(text, row[-1][2], match.start()):
            yield row
            row = []
        row.append((_token(match.group()), match.start(), match.end()))
    if row:
        yield row


def _token(word: str) -> _Token:
    if word[0].isdecimal():
        digits = word.replace(",", "")
        return _Token(float(digits), False, digits)
    if word == "point":
        return _Token(None, False, ".")
    if word == "oh":
        return _Token(0.0, False, "0")
    if word in _ALSO:
        return _Token(None, False, "", tuple(map(float, _ALSO[word])))
    scale = _SCALES.get(word.removesuffix("th").removesuffix("s"))
    value = _VALUES[word] if scale is None else scale
    return _Token(value, scale is not None, f"{value:.0f}")


def _readings(row: Sequence[_Token]) -> set[float]:
    """Return every number that neighbours in the row give: composed (twenty, five: 25) or concatenated (2, 5: 25)."""
    values = {value for token in row for value in token.also}
    composed: list[tuple[int, str]] = []  # the end and the digits of the number at each position
    for start in range(len(row)):
        steps = list(_composed(row[start : start + _LONGEST]))
        values.update(steps)
        composed.append((start + max(1, len(steps)), f"{steps[-1]:.0f}" if steps else row[start].digits))
    for start in range(len(row)):
        alone, together, place = "", "", start
        for step in range(start, min(len(row), start + _LONGEST)):
            alone += row[step].digits
            values |= _side_by_side(alone)
            if place == step:
                together += composed[step][1]
                place = composed[step][0]
                values |= _side_by_side(together)
    return values


def _side_by_side(digits: str) -> set[float]:
    return {float(digits)} if re.fullmatch(r"\d+(\.\d+)?", digits) else set()


def _composed(row: Sequence[_Token]) -> Iterator[float]:
    """Yield the value of the row's first number after each of its words: 2, 200, 250 for two hundred fifty."""
    done = group = 0.0
    room = 0.0  # what may still be added: below 10 after twenty, below 100 after hundred
    for place, token in enumerate(row):
        if token.value is None:
            return
        if token.scale and place:
            if token.value == 100:
                group *= 100
            else:
                done, group = done + group * token.value, 0.0
            room = token.value
        elif token.scale:
            group = room = token.value
        elif place == 0 or token.value < room:
            group += token.value
            room = 10.0 if token.value >= 20 and token.value % 10 == 0 and len(token.digits) == 2 else 0.0
        else:
            return
        yield done + group


def _written(summary: str) -> Iterator[tuple[str, float]]:
    """Yield each number as it is written, as long as possible: "two hundred and fifty" is one."""
    text = _without_tags(summary).lower()
    if _DIGIT.search(text):
        text = _LIST_NUMBER.sub(lambda match: match.group().replace(match[1], " "), text)
    spans: list[tuple[int, int]] = []
    for match in _FIGURE.finditer(text):
        scale = _SCALED.match(text, match.end())
        end = scale.end() if scale else match.end()
        spans.append((match.start(), end))
        if ":" in match.group() or match.group().count(".") > 1:
            yield match.group(), -1.0
            continue
        factor = _FACTORS[scale[1] or scale[2]] if scale else 1.0
        yield text[match.start() : end], round(_number(match.group()) * factor, 6)
    for row in _rows(text, _CLOSE_JOIN):
        place = 0
        while place < len(row):
            start = row[place][1]
            steps = list(_composed([each for each, _, _ in row[place : place + _LONGEST]]))
            if not steps or any(left <= start < right for left, right in spans):
                place += 1
                continue
            place += len(steps)
            yield text[start : row[place - 1][2]], steps[-1]


def _is_known(written: str, value: float, known: set[float]) -> bool:
    if value >= 0:
        in_parts = "." in written and _DIGIT.search(written) is not None
        return _is_known_value(value, known) or (in_parts and _parts_known(written, known))
    return _parts_known(written, known)


def _is_known_value(value: float, known: set[float]) -> bool:
    year = 1000 <= value < 2100 and value % 100 in known - _UNREMARKABLE
    return value in known or year or value / 100 in known - _UNREMARKABLE


def _parts_known(written: str, known: set[float]) -> bool:
    """Return whether the parts of 10:30 or 3.50 are known; a whole hour has no minutes, and 10:45 may be 15 to 11."""
    first, *rest = (float(part) for part in re.findall(r"\d+", written))
    if ":" not in written:
        return first in known and all(part in known for part in rest)
    hours = {first, first - 12, first + 12}
    minutes = rest[0]
    if minutes == 0:
        return bool(hours & known)
    if minutes <= 30:
        return bool(hours & known) and minutes in known
    later = {hour + 1 for hour in hours} | {1.0}
    return (bool(hours & known) and minutes in known) or (bool(later & known) and 60 - minutes in known)
