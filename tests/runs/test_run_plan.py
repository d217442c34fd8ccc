import json

import pytest
from made_up_recipes import begun_plan
from pydantic import ValidationError

from summtune.base.errors import RunDirectoryError
from summtune.base.files import write_json
from summtune.plan.beginning import origin_now
from summtune.plan.draft import complete_comparison
from summtune.plan.resolve import resolve
from summtune.runs.run_plan import PlanView, read_plan_view


def test_fields_of_a_plan_that_are_not_shown_are_ignored():
    plan = PlanView.model_validate({"kind": "prompt", "name": "a", "recipe": {"x": [1]}, "format": 9, "systems": []})
    assert (plan.name, plan.recipe, plan.devices, plan.model) == ("a", {"x": [1]}, set(), None)


def test_the_plan_of_every_kind_is_read(project, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    prompt, train = (begun_plan(project / f"{name}.yaml", into=project / "run") for name in ("prompt", "train"))
    compare = complete_comparison(resolve(project / "both.yaml"), origin_now(project))
    for written, devices in ((prompt, {"cpu"}), (train, {"cpu"}), (compare, set())):
        plan = PlanView.model_validate_json(json.dumps(written.to_json()))
        assert (plan.kind, plan.name, plan.identity) == (written.kind, written.name, written.identity)
        assert plan.devices == devices


def test_a_plan_without_a_name_is_refused():
    with pytest.raises(ValidationError, match="at least 1 character"):
        PlanView.model_validate({"kind": "prompt", "name": "", "recipe": {}})


@pytest.mark.parametrize("number", [1, 3, None, True, "x"])
def test_a_plan_of_another_format_is_refused_with_advice(tmp_path, number):
    write_json(tmp_path / "plan.json", {"kind": "prompt", "name": "a", "recipe": {}, "format": number})
    with pytest.raises(
        RunDirectoryError,
        match=rf"got format {number!r} in .* reads format 2\); use that version, or run the recipe again",
    ):
        read_plan_view(tmp_path / "plan.json")


def test_the_devices_of_a_reused_stage_are_those_of_the_run_that_made_it():
    made_by = {"run_dir": "/outputs/a", "created_at": None, "device": "cuda", "versions": {}}
    plan = {"kind": "train", "name": "a", "recipe": {}, "train": {"device": "cpu"}, "predict": {"device": "cpu"}}
    view = PlanView.model_validate(plan | {"reused": {"train": made_by}})
    assert view.devices == {"cuda", "cpu"}
    assert view.reused["train"].shown == "outputs/a"
