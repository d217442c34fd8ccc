"""Suggests the known name that a mistyped one most likely means."""

from __future__ import annotations

from collections.abc import Iterable

_LEAST_SIMILARITY = 60.0


def hint(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean <known name>?``, or an empty text if no known name resembles ``name``."""
    best = nearest(name, known)
    return "" if best is None else f", did you mean {best}?"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that most resembles ``name``; None if none does."""
    from rapidfuzz import fuzz, process

    best = process.extractOne(name, list(known), scorer=fuzz.ratio, processor=str.lower, score_cutoff=_LEAST_SIMILARITY)
    return None if best is None else str(best[0])


def hint_or_list(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean <known name>?``, or ``; known: …`` if no known name resembles ``name``."""
    names = list(known)
    return hint(name, names) or f"; known: {', '.join(names)}"
