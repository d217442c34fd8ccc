"""What the section endpoint may not say."""

import json

import pytest
from recipes_as_written import ENDPOINT, rule_findings

LIMITED = ENDPOINT["endpoint"] | {"max_cost": 2, "price": {"input": 1, "output": 2}}


def test_a_limit_of_cost_without_a_price_is_reported():
    limited = ENDPOINT["endpoint"] | {"max_cost": 2}
    ((path, message),) = rule_findings(ENDPOINT, endpoint=limited)
    assert (path, message[:21]) == ("endpoint.max_cost", "max_cost needs the pr")
    assert rule_findings(ENDPOINT, endpoint=limited | {"price": {"input": 1, "output": 2}}) == []


@pytest.mark.parametrize(
    "extra_body",
    [
        {"max_tokens": None},
        {"max_completion_tokens": None},
        {"max_tokens": "5"},
        {"max_tokens": -1},
        {"max_completion_tokens": True},
        {"n_predict": 5},
    ],
)
def test_a_limit_of_cost_needs_a_limit_of_tokens(extra_body):
    ((path, message),) = rule_findings(ENDPOINT, endpoint=LIMITED | {"extra_body": extra_body})
    assert path == "endpoint.max_cost"
    assert f"got {next(iter(extra_body))}: " in message
    assert "set max_completion_tokens" in message
    assert rule_findings(ENDPOINT, endpoint=ENDPOINT["endpoint"] | {"extra_body": extra_body}) == []


@pytest.mark.parametrize(
    "extra_body",
    [
        {"max_tokens": 5},
        {"max_completion_tokens": 5, "max_tokens": None},
        {"max_completion_tokens": None, "max_tokens": 5},
        {"temperature": None},
    ],
)
def test_a_limit_of_cost_goes_with_a_limit_of_tokens(extra_body):
    assert rule_findings(ENDPOINT, endpoint=LIMITED | {"extra_body": extra_body}) == []


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("messages", [], "set prompt_template"),
        ("prompt", "Hi", "set prompt_template"),
        ("model", "other", "set endpoint.model"),
        ("stream", True, "remove the field"),
        ("stream_options", {}, "remove the field"),
        ("n", 2, "remove the field"),
        ("n", "1", "remove the field"),
        ("best_of", 3, "remove the field"),
    ],
)
def test_a_field_that_summtune_sends_in_its_own_way_is_refused(name, value, advice):
    given = ENDPOINT["endpoint"] | {"extra_body": {name: value}}
    ((path, message),) = rule_findings(ENDPOINT, endpoint=given)
    assert path == f"endpoint.extra_body.{name}"
    assert f"got {name}: {json.dumps(value)}" in message
    assert advice in message


def test_one_choice_may_be_asked_for():
    assert rule_findings(ENDPOINT, endpoint=ENDPOINT["endpoint"] | {"extra_body": {"n": 1, "best_of": None}}) == []
