import pytest
from pydantic import ValidationError

from summtune.plan.resolve import resolve
from summtune.runs.run_plan import RunPlan


def test_what_is_not_shown_of_a_plan_is_passed_over():
    plan = RunPlan.model_validate({"kind": "prompt", "name": "a", "recipe": {"x": [1]}, "format": 9, "systems": []})
    assert (plan.name, plan.recipe, plan.devices, plan.model) == ("a", {"x": [1]}, set(), None)


@pytest.mark.parametrize(("recipe", "devices"), [("prompt.yaml", 1), ("train.yaml", 1), ("both.yaml", 0)])
def test_the_plan_of_every_kind_is_read(project, recipe, devices):
    written = resolve(project / recipe).plan.to_json()
    plan = RunPlan.model_validate(written, strict=False)
    assert (plan.kind, plan.name, plan.identity) == (written["kind"], written["name"], written["identity"])
    assert len(plan.devices) == devices


def test_a_plan_without_a_name_is_refused():
    with pytest.raises(ValidationError, match="at least 1 character"):
        RunPlan.model_validate({"kind": "prompt", "name": "", "recipe": {}})
