"""The keys of a recipe, each by itself: what is invalid or missing, and what is left to check."""

import pytest
from recipes_as_written import COMPARE, ENDPOINT, PROMPT, TRAIN

from summtune.recipe.keys import (
    KIND_OF,
    RECIPES,
    CompareRecipe,
    EndpointRecipe,
    PromptRecipe,
    TrainRecipe,
    required_keys,
)
from summtune.recipe.parsing import example, parse


@pytest.mark.parametrize(
    ("given", "type_"),
    [(PROMPT, PromptRecipe), (ENDPOINT, EndpointRecipe), (TRAIN, TrainRecipe), (COMPARE, CompareRecipe)],
)
def test_the_form_decides_which_keys_a_recipe_has(given, type_):
    parsed = parse(given)
    assert type(parsed.recipe) is type_
    assert (parsed.problems, parsed.wrong) == ({}, frozenset())


def test_a_key_of_another_kind_is_not_parsed():
    parsed = parse(TRAIN | {"shots": "two"})
    assert parsed.problems == {}
    assert not hasattr(parsed.recipe, "shots")


@pytest.mark.parametrize(
    ("given", "key", "advice"),
    [
        (PROMPT, "base_model", "name a hub model such as google/flan-t5-base"),
        (PROMPT, "test_datasets", "list the dialogues to summarize"),
        (TRAIN, "base_model", "name a hub model such as google/flan-t5-base"),
        (TRAIN, "datasets", "list the training data"),
        (TRAIN, "test_datasets", "list the dialogues to summarize and score"),
        (TRAIN, "learning_rate", "about 1e-4 suits full fine-tuning, 1e-3 suits LoRA"),
        (COMPARE, "recipes", "list the recipes to compare"),
    ],
)
def test_a_missing_key_is_reported_with_what_it_is_for(given, key, advice):
    rest = {name: value for name, value in given.items() if name != key}
    parsed = parse(rest)
    ((path, message),) = parsed.problems.items()
    assert path == (key,)
    assert parsed.wrong == {key}
    assert message.startswith(f"{key} is missing, which `kind: {given['kind']}` needs; {advice}")


def test_a_missing_key_of_an_endpoint_is_reported_with_what_it_is_for():
    problems = parse(ENDPOINT | {"endpoint": {}}).problems
    assert {path: message.partition("; ")[2][:22] for path, message in problems.items()} == {
        ("endpoint", "url"): "give the server's addr",
        ("endpoint", "model"): "give the name that the",
    }


@pytest.mark.parametrize("url", ["ftp://a/v1", "https://user:key@a/v1", "https://a/v1?key=1", "localhost:8000"])
def test_the_url_of_an_endpoint_is_an_address_without_secrets(url):
    ((path, message),) = parse(ENDPOINT | {"endpoint": {"url": url, "model": "m"}}).problems.items()
    assert path == ("endpoint", "url")
    assert "must be an address that begins with http:// or https://" in message


def test_a_key_in_place_of_the_variable_that_holds_it_is_not_shown():
    secret = "sk-live-0123456789"
    ((path, message),) = parse(ENDPOINT | {"endpoint": ENDPOINT["endpoint"] | {"api_key_env": secret}}).problems.items()
    assert path == ("endpoint", "api_key_env")
    assert "must be the name of an environment variable" in message
    assert "0123456789" not in message


def test_null_for_a_required_key_is_reported_at_that_key():
    ((path, message),) = parse(TRAIN | {"learning_rate": None}).problems.items()
    assert path == ("learning_rate",)
    assert message.startswith("learning_rate is missing")


def test_the_rest_of_an_invalid_recipe_can_be_checked():
    parsed = parse({"kind": "train", "learning_rate": "fast", "seed": "x", "lora_r": 4})
    assert parsed.wrong == {"learning_rate", "seed", "base_model", "datasets", "test_datasets"}
    assert (parsed.recipe.lora_r, parsed.recipe.seed) == (4, 42)


def test_the_keys_of_an_unknown_kind_are_checked_as_far_as_any_kind_has_them():
    parsed = parse({"kind": "tune", "shots": "two", "baseline": 5, "seed": 1.5, "lora_rank": 4})
    assert parsed.recipe is None
    assert {path: message.split(" (")[0] for path, message in parsed.problems.items()} == {
        ("kind",): "kind must be prompt, train or compare",
        ("shots",): "shots must be a whole number",
        ("baseline",): "baseline must be text",
        ("seed",): "seed must be a whole number",
        ("lora_rank",): "unknown key 'lora_rank', did you mean lora_r?",
    }


@pytest.mark.parametrize("kind", RECIPES)
def test_every_required_key_has_a_valid_example(kind):
    keys = {key: example(kind, key) for key in required_keys(kind)}
    assert parse({"kind": KIND_OF[kind]} | keys).problems == {}


def problems_of_entry(entry):
    parsed = parse(COMPARE | {"recipes": ["one.yaml", entry]})
    return {".".join(map(str, path[2:])): message for path, message in parsed.problems.items()}


@pytest.mark.parametrize(
    ("entry", "key", "message"),
    [
        ({"predictions": "a.csv", "recipe": "b.yaml"}, "recipe", "got both recipe and predictions); keep one"),
        ({"predictions": "a.csv", "overrides": {"seed": 1}}, "overrides", "overrides has no effect on outputs"),
        ({"recipe": "b.yaml", "id_field": "fname"}, "id_field", "id_field has no effect on a recipe; name a file of"),
        ({"predictions": 5}, "predictions", "recipes.1.predictions must be text (got 5)"),
        ({"predictions": ""}, "predictions", "must have at least 1 character (got '')"),
        ({"predictions": "a.csv", "prediction_fild": "x"}, "prediction_fild", ", did you mean prediction_field?"),
        ({"prediction": "a.csv"}, "prediction", "unknown key 'prediction' in recipes.1, did you mean predictions?"),
        ({"prediction_field": "x"}, "predictions", "recipes.1.predictions is missing; add it"),
        (["b.yaml"], "", "recipes.1 must be text or a section of keys (got a list)"),
    ],
)
def test_a_mistake_in_a_system_is_one_problem_of_the_kind_of_system_that_is_meant(entry, key, message):
    ((path, found),) = problems_of_entry(entry).items()
    assert path == key
    assert message in found


def test_an_unknown_key_of_a_system_lists_each_known_one_once():
    (found,) = problems_of_entry({"predictions": "a.csv", "xyz": 1}).values()
    known = found.split("known: ")[1].split(", ")
    assert {"recipe", "name", "predictions", "id_field"} < set(known)
    assert len(known) == len(set(known))
