"""Reads recipe keys passed by a program, by the same rules as those in a file."""

from __future__ import annotations

import json
import numbers
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError
from summtune.recipe.document import Document
from summtune.recipe.ineffective import SECTIONS
from summtune.recipe.overriding import Setting
from summtune.recipe.yaml_reader import read_yaml, read_yaml_value

# JSON does not escape these characters; in YAML they end a line, or are not allowed.
_TO_ESCAPE = re.compile("[\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def document_of(keys: Mapping[str, Any], name: str) -> Document:
    """Return the keys as a document, as if read from a file, but without positions.

    Args:
        keys: of a recipe; a dotted key is a key of a section.
        name: the name under which problems are reported.

    Raises:
        InputError: a recipe cannot contain a value of this type.
    """
    nested: dict[str, Any] = {}
    for key, value in _flat(keys):
        section, dot, inner = key.partition(".")
        if dot and section in SECTIONS and isinstance(nested.setdefault(section, {}), dict):
            nested[section][inner] = value
        else:
            nested[key] = value
    document = read_yaml(json_as_yaml(nested, name, indent=2), name)
    document.positions.clear()
    return document


def settings_of(keys: Mapping[str, Any]) -> list[Setting]:
    """Return keys as settings; each key of a section is a separate setting, so that its other keys do not change.

    Relative paths start from the current folder.

    Raises:
        InputError: a recipe cannot contain a value of this type.
    """
    folder = Path.cwd()
    texts = ((key, json_as_yaml(value, key)) for key, value in _flat(keys))
    return [Setting(key, read_yaml_value(text), f"{key}={text}", folder) for key, text in texts]


def json_as_yaml(value: Any, name: str, indent: int | None = None) -> str:
    """Return a value as JSON that is also YAML for the same value.

    Raises:
        InputError: a recipe cannot contain a value of this type; the message names it by ``name``.
    """
    text = json.dumps(_plain(value, name), ensure_ascii=False, indent=indent)
    return _TO_ESCAPE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _flat(keys: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in keys.items():
        if not isinstance(key, str):
            raise InputError(f"a key must be text (got {key!r:.60}); put it in quotes")
        if key in SECTIONS and isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", each) for inner, each in _plain(value, key).items())
        else:
            yield key, value


def _plain(value: Any, name: str) -> Any:
    """Return the value with paths as text, mappings as dicts, tuples as lists, and other numbers as Python's own."""
    match value:
        case None | bool() | str():
            return value
        case os.PathLike():
            return os.fspath(value)
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
        case Mapping():
            if wrong := [key for key in value if not isinstance(key, str)]:
                raise InputError(f"{name}: a key must be text (got {wrong[0]!r:.60}); put it in quotes")
            return {key: _plain(each, f"{name}.{key}") for key, each in value.items()}
        case list() | tuple():
            return [_plain(each, f"{name}.{at}") for at, each in enumerate(value)]
    raise InputError(
        f"{name}: a recipe cannot contain a value of this type (got {type(value).__name__}); use text, a number, True, "
        "False, None, a list or a mapping"
    )
