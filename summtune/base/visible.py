"""Makes untrusted text safe to display, by replacing hidden characters and control characters."""

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
    """Return ``text`` with a visible sign for every character that is invisible or moves others.

    Control characters (a null byte ends the text for some readers, an escape starts a terminal command) become the
    Unicode control pictures, ``␀``. Marks that change the writing direction, zero-width characters (except for the
    joiners that some scripts and emoji need) and lone surrogates (which UTF-8 cannot represent) become their code
    point, ``⟨U+202E⟩``. Line ends become ``\\n``; tabs stay.
    """
    return HIDDEN.sub(_sign, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return ``visible(text)`` with line ends and tabs as spaces, for a cell or a heading."""
    return " ".join(visible(text).split())


def message_line(text: str) -> str:
    """Return ``visible(text)`` with a sign for each line end too, so that no value in a message can forge another."""
    return visible(text).replace("\n", "\u240a")


def is_utf8(text: str) -> bool:
    """Return whether ``text`` can be written as UTF-8, that is, has no lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩"
