"""Recipes as mappings of the keys that a file contains, and what the rules find in them."""

from summtune.recipe.parsing import parse
from summtune.recipe.rules import rule_problems

PROMPT = {"kind": "prompt", "base_model": "a/b", "test_datasets": [{"path": "a/b"}]}
TRAIN = {
    "kind": "train",
    "base_model": "a/b",
    "datasets": [{"path": "a/b"}],
    "test_datasets": [{"path": "a/b"}],
    "learning_rate": 1e-4,
}
ENDPOINT = {
    "kind": "prompt",
    "endpoint": {"url": "http://localhost:8000/v1", "model": "m"},
    "test_datasets": [{"path": "a/b"}],
}
COMPARE = {"kind": "compare", "recipes": ["one.yaml", "two.yaml"]}
SHOTS = PROMPT | {"datasets": [{"path": "a/b"}], "shots": 2}
LORA = TRAIN | {"adapter": "lora"}


def rule_findings(given, **changes):
    given = given | changes
    parsed = parse(given)
    assert not parsed.problems
    found = rule_problems(given, parsed.recipe, parsed.wrong)
    return [(".".join(map(str, path)), message) for path, message in found]
