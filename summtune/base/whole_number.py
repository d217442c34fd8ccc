"""The number that a text writes in plain digits."""

from __future__ import annotations

_MOST_DIGITS = 9


def whole_number(text: str) -> int | None:
    """Return the number; None for any other text.

    ``str.isdigit`` is true of ``²``, which ``int`` does not read, and of more digits than it reads.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
