"""Models and runs that `summtune summarize` refuses; tests/integration runs the real command."""

import json

import pytest
from made_up_recipes import begun_plan

from summtune.base.errors import ModelError, RunDirectoryError
from summtune.base.files import write_json, write_jsonl, write_text
from summtune.commands.summarize import summarize, summarize_input
from summtune.data.hub_access import FetchedModel
from summtune.plan.beginning import origin_now
from summtune.plan.draft import complete_comparison
from summtune.plan.plan import ScoredPlan, Scoring, read_plan
from summtune.plan.resolve import resolve
from summtune.recipe.sections import EvaluationSettings
from summtune.runs.run_directory import mark_complete


def refuse(event):
    raise AssertionError(f"nothing may be started (got {event})")


def test_an_unknown_model_is_refused():
    with pytest.raises(ModelError, match=r"^no such builtin model \(got builtin/flan\)"):
        summarize("builtin/flan", ["a"], refuse)


def test_scored_external_outputs_are_refused(tmp_path):
    recipe = Scoring(evaluation=EvaluationSettings(), predictions="theirs.csv", references=None)
    plan = ScoredPlan(name="theirs", identity="0" * 64, recipe=recipe, **dict(origin_now(tmp_path)))
    write_json(tmp_path / "plan.json", plan.to_json())
    with pytest.raises(RunDirectoryError, match=r"holds external outputs, without a model \(got .*\); name a run or a"):
        summarize(str(tmp_path), ["a"], refuse)


def test_a_run_that_has_not_finished_its_training_is_refused(project):
    plan = begun_plan(project / "train.yaml", (), project / "run")
    write_json(project / "run" / "plan.json", plan.to_json())
    with pytest.raises(
        RunDirectoryError, match=r"the training of the run has not finished .got .*; run its recipe again to"
    ):
        summarize(str(project / "run"), ["a"], refuse)


def test_a_comparison_is_refused_because_it_has_several_models(project):
    plan = complete_comparison(resolve(project / "both.yaml"), origin_now(project))
    write_json(project / "run" / "plan.json", plan.to_json())
    with pytest.raises(RunDirectoryError, match=r"a comparison has several models .got .*; name the run directory of"):
        summarize(str(project / "run"), ["a"], refuse)


def test_the_user_messages_of_a_chat_are_summarized(project, monkeypatch, capsys):
    chat = [{"role": role, "content": text} for role, text in (("system", "S"), ("user", "A: Hi."), ("assistant", "x"))]
    write_jsonl(project / "chats.jsonl", [{"id": "a", "chat": chat}])
    monkeypatch.setattr(
        "summtune.commands.summarize.summarize", lambda _, dialogues, __: [text.upper() for text in dialogues]
    )
    summarize_input("model", str(project / "chats.jsonl"), True, messages_field="chat")
    assert json.loads(capsys.readouterr().out) == {"id": "a", "dialogue": "A: Hi.", "summary": "A: HI."}


def test_lengths_are_limited_to_those_of_a_bare_model(project, monkeypatch):
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


@pytest.fixture
def adapted_run(project):
    """A run whose adapter is trained, as far as its files tell."""
    plan = begun_plan(project / "train.yaml", ["adapter=ia3"], project / "run")
    write_json(project / "run" / "plan.json", plan.to_json())
    for name in ("model/adapter_model.safetensors", "train_log.jsonl", "training.json"):
        write_text(project / "run" / name, "{}")
    mark_complete(project / "run", "train")
    return project / "run"


def test_a_run_whose_adapter_has_another_base_now_is_refused(project, write_model, adapted_run):
    write_model(project / "model", d_model=512)
    with pytest.raises(RunDirectoryError, match=rf"adapter was trained on another model .*\(got {project / 'model'}"):
        summarize(str(adapted_run), ["a"], refuse)


def test_a_run_whose_adapter_has_lost_its_base_is_refused(project, adapted_run):
    (project / "model").rename(project / "moved")
    with pytest.raises(RunDirectoryError, match=rf"the base of the run's adapter is gone \(got no folder {project}"):
        summarize(str(adapted_run), ["a"], refuse)
