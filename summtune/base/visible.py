"""Makes text of unknown origin safe to look at: nothing in it can hide, reorder the page, end the file or drive a
terminal."""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_LINE_ENDS: Final = r"\u2028\u2029"
_DIRECTION: Final = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNWRITABLE: Final = r"\ud800-\udfff\ufffe\uffff"
_WIDTHLESS: Final = r"\u00ad\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f"
HIDDEN: Final = re.compile(f"[{_CONTROL}{_LINE_ENDS}{_DIRECTION}{_WIDTHLESS}{_UNWRITABLE}]")
"""The characters that `visible` replaces."""


def visible(text: str) -> str:
    """Return ``text`` with a sign for every character that would not be seen, or would move others.

    Control characters (a null byte ends the text for some readers, an escape begins a command for a terminal) become
    the Unicode control pictures, ``␀``. Marks that turn the writing direction, characters without width (but for the
    joiners that some scripts and emoji need) and lone surrogates (which no UTF-8 file can hold) become their code
    point, ``⟨U+202E⟩``. Line ends become ``\\n``; tabs stay.
    """
    return HIDDEN.sub(_sign, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return ``visible(text)`` with line ends and tabs as spaces, for a cell or a heading."""
    return " ".join(visible(text).split())


def message_line(text: str) -> str:
    """Return ``visible(text)`` with a sign for each line end too: no value in a message can begin another message."""
    return visible(text).replace("\n", "\u240a")


def is_utf8(text: str) -> bool:
    """Return whether ``text`` can be written as UTF-8: it holds no lone surrogate."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩"
