"""Which models and runs `summtune summarize` refuses; that it summarizes is tested with the real command."""

import json

import pytest

from summtune.base.errors import ModelError, RunDirectoryError
from summtune.base.files import write_json, write_jsonl
from summtune.commands.summarize import summarize
from summtune.data.hub_access import FetchedModel
from summtune.plan.plan import read_plan
from summtune.plan.resolve import resolve


def refuse(event):
    raise AssertionError(f"nothing may be started (got {event})")


def test_a_model_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match=r"^no such builtin model \(got builtin/flan\)"):
        summarize("builtin/flan", ["a"], refuse)


def test_outputs_from_elsewhere_have_no_model(tmp_path):
    write_json(tmp_path / "plan.json", {"kind": "scored"})
    with pytest.raises(RunDirectoryError, match=r"outputs from elsewhere were scored here \(got .*\); name a run or a"):
        summarize(str(tmp_path), ["a"], refuse)


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        ("train.yaml", "the run has not finished its training .got .*; run its recipe to the end first"),
        ("both.yaml", "a comparison has several models .got .*; name the run of one of its systems"),
    ],
)
def test_a_run_without_one_finished_model_is_refused(project, recipe, match):
    write_json(project / "run" / "plan.json", resolve(project / recipe).plan.to_json())
    with pytest.raises(RunDirectoryError, match=match):
        summarize(str(project / "run"), ["a"], refuse)


def test_a_bare_model_is_asked_for_no_more_than_it_takes(project, monkeypatch):
    (project / "model" / "config.json").write_text(json.dumps({"model_type": "bart", "max_position_embeddings": 100}))
    plans = []

    def run_processes(launch, run_dir, stages, listener):
        plans.append(read_plan(run_dir))
        write_jsonl(run_dir / "predictions.jsonl", [{"prediction": "A."}])

    monkeypatch.setattr("summtune.commands.summarize.run_processes", run_processes)
    monkeypatch.setattr(
        "summtune.commands.summarize.fetch_model", lambda name, revision: FetchedModel(project / "model", "0" * 40)
    )
    for source in (str(project / "model"), "acme/bart"):
        assert summarize(source, ["a"], refuse) == ["A."]
    assert [(plan.recipe.sequence_len, plan.recipe.generation.max_new_tokens) for plan in plans] == [(100, 100)] * 2
