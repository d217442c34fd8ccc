"""The plan: batch arithmetic, stages that share a launch, and the content of plan.json."""

import pytest
from made_up_recipes import begun_plan, made_up_plan, train_recipe

from summtune.base.errors import RunDirectoryError
from summtune.base.files import write_json
from summtune.plan.beginning import origin_now
from summtune.plan.draft import complete, complete_comparison
from summtune.plan.launch import Batch, Launch, StageGroup, stage_groups
from summtune.plan.plan import ScoredPlan, Scoring, beginning_of, launch_of, read_plan, read_run_plan
from summtune.plan.resolve import resolve
from summtune.recipe.sections import EvaluationSettings

CPU = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")
ZERO = Launch(distribution="deepspeed", processes=2, device="cpu", config_file="accelerate.yaml", zero_stage=2)


def batch(processes=1, pairs=100, **keys):
    return Batch.of(train_recipe(**keys), processes, pairs)


def test_the_global_batch_is_micro_times_accumulation_times_processes():
    assert batch(processes=4, micro_batch_size=2, gradient_accumulation_steps=3).global_batch == 24


@pytest.mark.parametrize(
    ("pairs", "keys", "per_epoch", "steps"),
    [
        (100, {"micro_batch_size": 8, "num_epochs": 3}, 13, 39),
        (96, {"micro_batch_size": 8, "num_epochs": 3}, 12, 36),
        (100, {"micro_batch_size": 8, "num_epochs": 0.5}, 13, 7),
        (100, {"micro_batch_size": 8, "max_steps": 5}, 13, 5),
        (1, {"micro_batch_size": 8, "num_epochs": 1}, 1, 1),
    ],
)
def test_the_number_of_steps_follows_from_the_pairs(pairs, keys, per_epoch, steps):
    arithmetic = batch(pairs=pairs, **keys)
    assert (arithmetic.steps_per_epoch, arithmetic.optimizer_steps) == (per_epoch, steps)


def test_consecutive_stages_with_the_same_launch_form_one_group():
    assert stage_groups(CPU, CPU) == [
        StageGroup(("train", "predict"), CPU), StageGroup(("evaluate",), None), StageGroup(("report",), None),
    ]  # fmt: skip
    assert [group.names for group in stage_groups(ZERO, CPU)] == [("train",), ("predict",), ("evaluate",), ("report",)]
    assert [group.names for group in stage_groups(None, CPU)] == [("predict",), ("evaluate",), ("report",)]
    assert [group.names for group in stage_groups(CPU, CPU, ["predict", "report"])] == [("predict",), ("report",)]


@pytest.fixture
def scored():
    """The plan of scored outputs."""
    recipe = Scoring(evaluation=EvaluationSettings(), predictions="theirs.csv", references=None)
    origin = {"created_at": "2026-01-01T00:00:00Z", "git_commit": None, "versions": {}}
    return ScoredPlan(name="theirs", identity="0" * 64, recipe=recipe, **origin)


def test_a_plan_of_every_kind_survives_writing_and_reading(project, scored):
    train = begun_plan(project / "train.yaml", ["val_set_size=2"], project / "run")
    prompt = begun_plan(project / "prompt.yaml", (), project / "run")
    endpoint = "endpoint: {url: http://localhost:1/v1, model: m}\n"
    (project / "endpoint.yaml").write_text(f"kind: prompt\n{endpoint}test_datasets: [{{path: test.jsonl}}]\n")
    asked = begun_plan(project / "endpoint.yaml", (), project / "run")
    compare = complete_comparison(resolve(project / "both.yaml"), origin_now(project))
    for plan in (train, prompt, asked, compare, scored):
        write_json(project / "plan.json", plan.to_json())
        assert read_plan(project) == plan
        assert type(read_plan(project)) is type(plan)
    assert "shots" not in train.to_json()["recipe"]
    assert train.to_json()["recipe"]["base_model"] == str(project / "model")
    assert {"summtune", "torch", "transformers"} <= set(train.versions)


def test_a_plan_is_complete_when_it_is_written(project):
    sets = ["val_set_size=2", "deepspeed=ds_configs/zero2.json", "num_processes=2"]
    plan = begun_plan(project / "train.yaml", sets, project / "run")
    assert plan.model.folder == str(project / "model")
    assert (plan.model.parameters.total, plan.model.parameters.trainable) == (247_577_856, 247_577_856)
    assert (plan.batch.pairs, plan.batch.global_batch, plan.batch.optimizer_steps) == (10, 16, 3)
    assert (plan.train.distribution, plan.predict.distribution) == ("deepspeed", "data_parallel")
    assert plan.deepspeed["zero_optimization"]["reduce_bucket_size"] == 25_000_000
    assert plan.deepspeed["train_batch_size"] == "auto"


def test_a_run_that_resumes_on_another_layout_keeps_its_beginning(project):
    begun = begun_plan(project / "train.yaml", (), project / "run")
    draft = resolve(project / "train.yaml", ["micro_batch_size=4", "num_processes=2"])
    old = beginning_of(begun).model_copy(update={"created_at": "2020-01-01T00:00:00Z", "versions": {"torch": "2.0"}})
    plan = complete(draft, old)
    assert (plan.created_at, plan.versions, plan.data) == ("2020-01-01T00:00:00Z", {"torch": "2.0"}, begun.data)
    assert (plan.train.processes, plan.batch.micro_batch_size, plan.batch.pairs) == (2, 4, 12)
    assert plan.identity == begun.identity


def test_the_beginning_of_a_run_of_another_kind_is_refused(project):
    prompt = begun_plan(project / "prompt.yaml", (), project / "run")
    with pytest.raises(RunDirectoryError, match="is not that of a train recipe"):
        complete(resolve(project / "train.yaml"), beginning_of(prompt))


def test_a_folder_without_a_plan_or_with_a_damaged_one_is_refused(project):
    with pytest.raises(FileNotFoundError):
        read_plan(project)
    plan = made_up_plan().to_json()
    write_json(project / "plan.json", plan | {"batch": None})
    with pytest.raises(
        RunDirectoryError, match=r"is not a valid plan for this version of summtune \(got train.batch: "
    ):
        read_plan(project)
    write_json(project / "plan.json", plan | {"kind": "sweep"})
    with pytest.raises(RunDirectoryError, match=r"\(got [^:]*'sweep'"):
        read_plan(project)
    write_json(project / "plan.json", [plan])
    with pytest.raises(RunDirectoryError, match="is not a valid plan"):
        read_plan(project)


def test_the_plan_names_its_generator_and_an_unknown_one_is_refused(project):
    plan = made_up_plan().to_json()
    assert plan["generator"] == "local"
    write_json(project / "plan.json", plan | {"generator": "endpoint"})
    match = r"\(got train\.generator: Input should be 'local' or 'vllm'\); restore it"
    with pytest.raises(RunDirectoryError, match=match):
        read_plan(project)


@pytest.mark.parametrize("number", [1, 99])
def test_a_run_directory_of_another_format_is_refused_with_advice(project, number):
    write_json(project / "plan.json", made_up_plan().to_json() | {"format": number})
    match = rf"another version of summtune wrote this run directory \(got format {number} in .* reads format 2\); "
    with pytest.raises(RunDirectoryError, match=match):
        read_plan(project)


def test_a_comparison_or_scored_outputs_are_not_the_plan_of_a_run(project, scored):
    write_json(project / "plan.json", made_up_plan().to_json())
    assert read_run_plan(project) == made_up_plan()
    write_json(project / "plan.json", scored.to_json())
    with pytest.raises(RunDirectoryError, match=r"not the run of a model \(got kind scored in "):
        read_run_plan(project)


def test_only_stages_with_worker_processes_have_a_launch():
    plan = made_up_plan(predict=CPU, train=ZERO)
    assert (launch_of(plan, "train"), launch_of(plan, "predict")) == (ZERO, CPU)
    with pytest.raises(AssertionError, match="no worker runs the stage 'report'"):
        launch_of(plan, "report")
