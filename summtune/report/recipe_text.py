"""Formats a resolved recipe as readable YAML."""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from pydantic import JsonValue


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines, such as prompt templates, as block scalars."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def recipe_text(recipe: Mapping[str, JsonValue]) -> str:
    """Return the recipe as YAML, with its keys in their order."""
    return yaml.dump(dict(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
