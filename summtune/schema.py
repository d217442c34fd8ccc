"""The JSON Schema of recipes, which editors use to complete and check keys."""

from __future__ import annotations

from typing import Any

from summtune.recipe import Recipe, use_of


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
