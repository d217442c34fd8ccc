"""Locates the cache: files that summtune can recreate."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "SUMMTUNE_CACHE"


def cache_folder(part: str) -> Path:
    """Return the folder of a part of the cache: below ``SUMMTUNE_CACHE``, or ``summtune`` in the user's cache.

    Raises:
        RuntimeError: the user has no home directory.
    """
    given = os.environ.get(CACHE)
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(given) if given else Path(users) / "summtune").expanduser() / part
