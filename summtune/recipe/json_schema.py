"""The schema of recipes as others read it: JSON Schema for editors, Markdown for people."""

from __future__ import annotations

import json
from typing import Any, get_args

from summtune.recipe.keys import Recipe, Section, use_of


def recipe_schema() -> dict[str, Any]:
    """Return the schema of a recipe file.

    Beside the types and bounds of every key it says, for each kind, which keys that kind reads: any other one is
    refused.
    """
    schema = Recipe.model_json_schema()
    keys = schema["properties"]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "summtune recipe"
    schema["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"propertyNames": {"enum": [key for key in keys if kind in use_of(key).kinds]}},
        }
        for kind in ("prompt", "train", "compare")
    ]
    return schema


def recipe_markdown() -> str:
    """Return a table of every key: its type and bounds, default, the kinds that read it, and what it does."""
    lines = [
        "# Every key of a recipe",
        "",
        "Made by `summtune schema --markdown`; `make check` keeps it current. A key that is not read by the kind, or",
        "that would have no effect beside the others, is an error.",
        "",
        *_table(Recipe),
    ]
    keys: dict[type[Section], list[str]] = {}
    for key, field in Recipe.model_fields.items():
        for section in _sections(field.annotation):
            keys.setdefault(section, []).append(f"`{key}`")
    for section, readers in keys.items():
        lines += ["", f"## {' and '.join(readers)}", "", (section.__doc__ or "").strip(), "", *_table(section)]
    return "\n".join(lines)


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


def _table(section: type[Section]) -> list[str]:
    schema = section.model_json_schema()
    whole = section is Recipe
    columns = ["key", "type", "default", *(["kinds"] if whole else []), "what it does"]
    rows = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    for key, node in schema["properties"].items():
        default = "required" if key in schema.get("required", ()) else _shown(node.get("default"))
        kinds = f" {', '.join(sorted(use_of(key).kinds))} |" if whole else ""
        rows.append(
            f"| `{key}` | {_type(node)} | {default} |{kinds} {node.get('description', '')} |".replace("\n", " ")
        )
    return rows


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, dict):
        return "see below" if default else ""
    return f"`{json.dumps(default)}`"


def _type(node: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_type(part) for part in node["anyOf"] if part.get("type") != "null")
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if "$ref" in node:
        return "section"
    names = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "mapping"}
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    words = [names.get(node.get("type", ""), node.get("type", "any"))]
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    words += [f"{sign} {node[bound]:,}" for bound, sign in bounds.items() if bound in node]
    return " ".join(words)
