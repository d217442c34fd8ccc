"""Reads the API key, and removes it from every text that a server sends back."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

from summtune.base.errors import InputError

REPLACEMENT = "[API key]"
_SHORTEST = 8
"""Characters of the shortest key that is accepted, and of the shortest part of one that is taken out of a message."""


def read_key(variable: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the API key that an environment variable holds; None where the recipe names no variable.

    Args:
        variable: ``endpoint.api_key_env``.
        environment: such as ``os.environ``.

    Raises:
        InputError: the variable is not set, or does not hold something that a header can hold. The message does not
            show the value.
    """
    if variable is None:
        return None
    value = environment.get(variable, "").strip()
    if not value:
        raise InputError(
            f"the API key is missing (got no value of the environment variable {variable}); set it, or leave out "
            "endpoint.api_key_env where the server needs no key"
        )
    if not re.fullmatch(r"[!-~]+", value):
        raise InputError(
            f"the API key holds characters that no key has (got blanks or others beyond ASCII in {variable}); "
            "set it to the key alone"
        )
    if len(value) < _SHORTEST:
        raise InputError(
            f"the API key is too short to be kept out of texts (got {len(value)} characters in {variable}); leave out "
            f"endpoint.api_key_env where the server needs no key, else give the server one of {_SHORTEST} or more"
        )
    return value


class Secret:
    """An API key, and what it looks like in the texts of a server that echoes it.

    Args:
        key: the key; None where there is no key.
    """

    def __init__(self, key: str | None) -> None:
        forms = sorted(set(_forms(key)), key=len, reverse=True) if key else []
        self._whole = re.compile("|".join(map(re.escape, forms))) if forms else None
        self._parts = {form[at : at + _SHORTEST] for form in forms for at in range(len(form) - _SHORTEST + 1)}

    def without(self, text: str) -> str:
        """Return an answer in which the key is replaced, as it is, URL-encoded or in base64."""
        return text if self._whole is None else self._whole.sub(REPLACEMENT, text)

    def hidden(self, message: str) -> str:
        """Return a message in which each part of the key of eight or more characters is replaced, too."""
        covered = [False] * len(message)
        for at in range(len(message) - _SHORTEST + 1) if self._parts else ():
            if message[at : at + _SHORTEST] in self._parts:
                covered[at : at + _SHORTEST] = [True] * _SHORTEST
        shown = []
        for at, character in enumerate(message):
            if not covered[at]:
                shown.append(character)
            elif at == 0 or not covered[at - 1]:
                shown.append(REPLACEMENT)
        return "".join(shown)


def _forms(key: str) -> Iterator[str]:
    """Yield the key as servers and libraries may write it."""
    for encoded in (key, quote(key, safe=""), quote_plus(key)):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), encoded)
    yield html.escape(key)
    yield json.dumps(key)[1:-1]
    yield key.encode().hex()
    for before in range(3):  # base64 of a text in which the key begins at any byte, such as "Bearer KEY"
        text = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
        first = -(-before * 8 // 6)
        last = (before + len(key)) * 8 // 6
        yield text[first:last]
        yield text[first:last].translate(str.maketrans("+/", "-_"))
