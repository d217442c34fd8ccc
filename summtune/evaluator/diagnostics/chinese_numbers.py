"""Reads numbers written in Chinese characters, as in Chinese and Japanese texts."""

from __future__ import annotations

import re

_NUMERALS = ("〇零", "一壹", "二两兩貳", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖")
_DIGITS = {character: value for value, characters in enumerate(_NUMERALS) for character in characters}
_SMALL = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1_000, "仟": 1_000}
_LARGE = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12}
_MYRIAD = 10**4
_ALSO = {"半": (0.5, 30.0, 50.0), "双": (2.0,), "廿": (20.0,)}

_LONGEST = 16
"""Most characters of a number; a longer row is not one."""

_NUMBER = re.compile(f"[{''.join((*_DIGITS, *_SMALL, *_LARGE))}]+")
_SCALE = f"(?:(?!千[克米瓦])[{''.join((*_SMALL, *_LARGE))}]){{1,3}}"  # 千克 is a kilogram
_PART = re.compile(rf"([\d,.]+)\s?({_SCALE})")
_FIGURE = re.compile(rf"(?<!\d)(?:\d+(?:,\d{{3}})*(?:\.\d+)?\s?{_SCALE})+(?:\d{{1,4}}(?![\d.,:]))?")


def chinese_numbers(text: str) -> set[float]:
    """Return every number that ``text`` may contain in Chinese characters: 十二 (12), 三千五百 (3500), 二〇二四 (2024).

    Characters that are part of another word count too: the result is what a dialogue may mean.
    """
    if text.isascii():
        return set()
    values = {value for sign, meant in _ALSO.items() if sign in text for value in meant}
    for match in _NUMBER.finditer(text):
        row = match.group()
        if len(row) > _LONGEST:
            continue
        values.add(_value(row))
        values.update(float(_DIGITS[each]) for each in row if each in _DIGITS)
        if all(each in _DIGITS for each in row):
            values.add(float("".join(str(_DIGITS[each]) for each in row)))
    return values


def with_figures(text: str) -> str:
    """Return ``text`` with figures followed by such characters written out: 3万 as 30000, 1万2千 as 12000."""
    return _FIGURE.sub(lambda match: _written_out(match.group()), text)


def _written_out(figure: str) -> str:
    value, scale, end = 0.0, 1.0, 0
    for part in _PART.finditer(figure):
        scale = 1.0
        for sign in part[2]:
            scale *= _SMALL.get(sign) or _LARGE[sign]
        value, end = value + float(part[1].replace(",", "")) * scale, part.end()
    rest = figure[end:]
    # Both 1万2 and 1万2000 are 12000.
    value += float(rest or 0) * (scale / 10 if len(rest) == 1 and scale > 10 else 1)
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _value(row: str) -> float:
    """Return the value of a composed number: both 一万二千 and 一万二 are 12000."""
    total = group = digit = 0
    last = 1  # a final digit counts a tenth of this
    for character in row:
        if character in _DIGITS:
            digit, last = _DIGITS[character], last if _DIGITS[character] else 1
        elif character in _SMALL:
            group, digit, last = group + (digit or 1) * _SMALL[character], 0, _SMALL[character]
        else:
            scale = _LARGE[character]
            if scale == _MYRIAD:
                total += (group + digit or 1) * scale
            else:
                total = (total + group + digit or 1) * scale
            group, digit, last = 0, 0, scale
    return float(total + group + digit * (last // 10 if last > 10 else 1))
