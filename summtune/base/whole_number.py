"""Parses whole numbers written in plain ASCII digits."""

from __future__ import annotations

_MOST_DIGITS = 9


def whole_number(text: str) -> int | None:
    """Return the number; None for any other text.

    ``str.isdigit`` alone also accepts ``²``, and more digits than ``int`` converts.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
