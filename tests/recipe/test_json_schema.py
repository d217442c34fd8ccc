"""The JSON Schema that editors read: current, valid, and as strict as the command."""

import json
from pathlib import Path

import jsonschema
import pytest
from recipes_as_written import TRAIN

from summtune.base.places import package_path
from summtune.recipe.json_schema import recipe_schema
from summtune.recipe.yaml_reader import read_yaml_file

SHIPPED = sorted(package_path("recipes").rglob("*.yaml"))


def complaints(recipe):
    validator = jsonschema.Draft202012Validator(recipe_schema())
    return [error.message for error in validator.iter_errors(recipe)]


def test_the_committed_schema_is_current():
    committed = json.loads((package_path("recipes") / "recipe.schema.json").read_text(encoding="utf-8"))
    assert committed == recipe_schema(), "run `make schema`"


def test_the_published_schema_is_valid_json_schema():
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_bundled_recipe_satisfies_the_schema(path: Path):
    assert complaints(read_yaml_file(path).value) == []


def test_a_valid_recipe_satisfies_the_schema():
    assert complaints(TRAIN) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"learning_rte": 1e-4}, "learning_rte"),
        ({"generation": {"num_beam": 4}}, "num_beam"),
        ({"datasets": [{"path": "a/b", "splt": "train"}]}, "splt"),
        ({"shots": 1}, "shots"),
        ({"recipes": ["a.yaml", "b.yaml"]}, "recipes"),
        ({"seed": "7"}, "'7'"),
        ({"adapter": "lroa"}, "'lroa'"),
        ({"micro_batch_size": 0}, "0 is less than the minimum"),
        ({"kind": "trian"}, "'trian'"),
    ],
)
def test_the_schema_rejects_what_the_command_rejects(change, word):
    found = complaints(TRAIN | change)
    assert found
    assert any(word in message for message in found)


def test_every_key_in_the_schema_has_a_description():
    schema = recipe_schema()
    sections = schema["$defs"]
    for section in (schema, *sections.values()):
        for name, key in section.get("properties", {}).items():  # JsonValue, which is anything, has none
            # pydantic writes a description only once if the section has the same one.
            referred = sections.get(key.get("$ref", "").rsplit("/", 1)[-1], {})
            assert key.get("description") or referred.get("description"), name
