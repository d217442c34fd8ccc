"""The short run of a recipe differs from the whole one in its data, its steps and where it reports to, and no more."""

import pytest
from made_up_recipes import begun_plan

from summtune.base.files import read_jsonl, write_json
from summtune.plan.checking import check
from summtune.plan.draft import TrainDraft
from summtune.plan.resolve import drafted, resolve
from summtune.plan.smoke import dialogues_to_summarize, paused, short_data, smoke_folder, smoked


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)


@pytest.fixture
def short(project):
    """Return the recipe of a smoke run with some settings, and what it differs in from the whole one."""

    def derive(name, *sets):
        checked = check(project / name, sets)
        recipe = smoked(checked, project / "short").recipe
        before, after = checked.recipe.model_dump(), recipe.model_dump()
        return recipe, {key for key in after if after[key] != before[key]}

    return derive


def test_a_training_takes_two_steps_with_a_checkpoint_after_each(short, project):
    recipe, changed = short("train.yaml")
    assert changed == {"datasets", "test_datasets", "max_steps", "logging_steps", "save_steps"}
    assert (recipe.max_steps, recipe.logging_steps, recipe.save_steps, recipe.eval_steps) == (2, 1, 1, None)
    assert recipe.datasets[0].path == str(project / "short" / "data" / "train.jsonl")


@pytest.mark.parametrize("warmup", ["warmup_ratio=0.5", "warmup_steps=1"])
def test_both_steps_change_the_weights(short, warmup):
    recipe, changed = short("train.yaml", warmup)
    assert (recipe.warmup_ratio, recipe.warmup_steps) == (0.0, 0)
    assert warmup.split("=")[0] in changed


def test_a_training_with_validation_data_evaluates_after_each_step(short, project):
    recipe, _ = short("train.yaml", "val_set_size=4", "early_stopping_patience=1")
    assert (recipe.eval_steps, recipe.save_steps, recipe.val_set_size, recipe.early_stopping_patience) == (1, 1, 0, 1)
    assert recipe.val_datasets[0].path == str(project / "short" / "data" / "validation.jsonl")


def test_trackers_keep_their_results_on_this_machine(short, project, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    sets = ("wandb_project=talks", "mlflow_tracking_uri=https://example.org", "use_tensorboard=true")
    recipe, changed = short("train.yaml", *sets)
    assert {"wandb_mode", "mlflow_tracking_uri"} < changed
    assert (recipe.wandb_mode, recipe.mlflow_tracking_uri) == ("offline", str(project / "short" / "mlflow"))
    assert recipe.use_tensorboard


def test_a_prompted_model_is_shown_the_exemplars_of_the_whole_run(short):
    recipe, changed = short("prompt.yaml", "shots=2", "datasets=[{path: train.jsonl}]")
    assert changed == {"datasets", "test_datasets"}
    assert recipe.datasets[0].path.endswith("exemplars.jsonl")
    assert short("prompt.yaml")[1] == {"test_datasets"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [("'12:00:00'", "32"), ("3-00", "32"), ("unlimited", "32"), ("'00:20:00'", "00:20:00"), ("null", None)],
)
def test_a_job_asks_for_minutes(short, given, expected):
    recipe, _ = short("train.yaml", "launcher=slurm", "slurm.nodes=1", f"slurm.time={given}")
    assert recipe.slurm.time == expected


def test_the_data_is_the_longest_pairs_and_the_first_other_dialogues(project):
    sets = ("val_set_size=4", "micro_batch_size=1", "gradient_accumulation_steps=2", "num_processes=1")
    whole, into = project / "whole", project / "short"
    longest = short_data(begun_plan(project / "train.yaml", sets, whole), whole, into, 3)

    def read(folder, role):
        return list(read_jsonl(folder / "data" / f"{role}.jsonl"))

    assert longest.pairs == len(read(into, "train")) == 4
    assert read(into, "validation") == read(whole, "validation")[:1]
    assert read(into, "test") == read(whole, "test")[:3]
    assert all(row in read(whole, "train") for row in read(into, "train"))


def test_the_layout_is_that_of_the_whole_run(project, monkeypatch):
    config = project / "zero.json"
    write_json(config, {"zero_optimization": {"stage": 2}})
    sets = ("num_processes=2", f"deepspeed={config}", "micro_batch_size=2")
    checked = check(project / "train.yaml", sets)
    whole = drafted(checked)
    data = begun_plan(project / "train.yaml", sets, project / "whole")
    short_data(data, project / "whole", project / "short", 4)
    draft = paused(drafted(smoked(checked, project / "short"), project / "out"), [project / "model"])
    assert isinstance(draft, TrainDraft)
    assert (draft.train, draft.predict, draft.deepspeed) == (whole.train, whole.predict, whole.deepspeed)
    assert (draft.pause_after, whole.pause_after) == (1, None)
    assert draft.identity != whole.identity


def test_its_directory_is_below_one_that_holds_no_runs(project):
    draft = resolve(project / "train.yaml")
    assert smoke_folder(draft) == project / "outputs" / "smoke" / draft.run_dir.name
    assert (
        smoke_folder(resolve(project / "train.yaml", output_dir=project / "a" / "b")) == project / "a" / "smoke" / "b"
    )


def test_systems_of_a_comparison_summarize_as_many_dialogues_as_the_largest_batch(project):
    sets = ("generation.batch_size=3", "num_processes=2")
    drafts = [resolve(project / "prompt.yaml"), resolve(project / "train.yaml", sets)]
    assert [dialogues_to_summarize([draft]) for draft in drafts] == [16, 6]
    assert dialogues_to_summarize(drafts) == 16


def test_a_model_behind_an_api_is_asked_five_dialogues(project):
    endpoint = "endpoint: {url: http://localhost:1/v1, model: m}\n"
    (project / "endpoint.yaml").write_text(f"kind: prompt\n{endpoint}test_datasets: [{{path: test.jsonl}}]\n")
    asked, prompted = resolve(project / "endpoint.yaml"), resolve(project / "prompt.yaml")
    assert dialogues_to_summarize([asked]) == 5
    assert dialogues_to_summarize([asked, prompted]) == 5
    assert dialogues_to_summarize([prompted]) == prompted.recipe.generation.batch_size
    again = paused(asked, [None])
    assert (again.reuses, again.recipe) == (False, asked.recipe)
