"""Finds speaker tags in a summary that are malformed or that no one in the dialogue has."""

from __future__ import annotations

import re
from functools import lru_cache

_TAG = re.compile(r"#(\w*[^\W\d]\w*)#")


def tags(dialogue: str) -> frozenset[str]:
    """Return the speaker tags of a dialogue."""
    return frozenset(tag.group() for tag in _TAG.finditer(dialogue))


def wrong_tags(summary: str, known: frozenset[str]) -> list[str]:
    """Return what stands in ``summary`` for a speaker and is no tag of the dialogue, in the summary's order.

    Tags are written ``#Person1#``. Malformed ones (``##Person2#``, ``#Person2``, ``Person2#``, ``Person2``, ``# Person2
    #``) are found where the dialogue has tags, whole ones that the dialogue lacks always; so a hashtag in a chat is no
    tag.

    Args:
        summary: of a system or a person.
        known: the dialogue's `tags`.
    """
    if "#" not in summary and not known:
        return []
    stems = frozenset(tag.strip("#").rstrip("0123456789").lower() for tag in known)
    return [
        found.strip()
        for found in (match.group() for match in _likeness(stems).finditer(summary))
        if found not in known and (known or _TAG.fullmatch(found))
    ]


@lru_cache(maxsize=64)
def _likeness(stems: frozenset[str]) -> re.Pattern[str]:
    """Return what finds tags and what was meant to be one: a whole tag first, so that two neighbours stay two."""
    stem = "|".join(sorted(map(re.escape, stems | {"person"})))
    bare = "|".join(sorted(re.escape(each.capitalize()) for each in stems | {"person"}))
    return re.compile(
        r"(?<!#)#\w*[^\W\d]\w*#(?!#(?!\w))"
        rf"|#+\s?(?i:{stem})(?:\s?\d+)?(?:\s?#+)?|\b(?i:{stem})\s?\d*#+|\b(?:{bare})\d+\b"
    )
