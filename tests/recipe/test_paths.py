"""Resolution of a recipe's paths, and paths that do not exist."""

import os

import pytest

from summtune.base.places import model_folder, package_path
from summtune.recipe.loading import load_recipe
from summtune.recipe.overriding import Overrides
from summtune.recipe.paths import resolve_paths


def resolved(loaded):
    return resolve_paths(loaded.recipe, loaded)


@pytest.fixture
def found(project):
    """Return the resolved recipe and its problems for a training recipe with assignments."""

    def of(*sets, name="train.yaml"):
        recipe, problems = resolved(load_recipe(project / name, sets))
        return recipe, [problem.message for problem in problems]

    return of


def test_local_paths_are_relative_to_the_recipe_file(found, project):
    recipe, problems = found("output_dir=runs/a", "evaluation.metrics=[rouge1, ./model]")
    assert problems == []
    assert recipe.base_model == str(project / "model")
    assert recipe.datasets[0].path == str(project / "train.jsonl")
    assert recipe.test_datasets[0].path == str(project / "test.jsonl")
    assert recipe.output_dir == str(project / "runs" / "a")
    assert recipe.evaluation.metrics == ["rouge1", str(project / "model")]


def test_an_argument_of_a_metric_that_begins_with_a_dot_and_a_slash_is_a_path(found, project):
    recipe, problems = found(
        "evaluation.metrics=[bertscore]",
        "evaluation.metric_arguments={bertscore: {model_type: ./model, lang: model, num_layers: 9, more: ./nowhere}}",
    )
    arguments = recipe.evaluation.metric_arguments["bertscore"]
    assert arguments == {
        "model_type": str(project / "model"),
        "lang": "model",
        "num_layers": 9,
        "more": str(project / "nowhere"),
    }
    assert problems == [
        f"no file for bertscore.more at this path (got ./nowhere, looked at {project / 'nowhere'}); check it"
    ]


def test_a_relative_path_starts_from_the_folder_of_the_file_command_or_comparison_that_sets_it(
    project, tmp_path_factory, monkeypatch
):
    here, compared = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("compared")
    for folder in (here, compared):
        (folder / "test.jsonl").touch()
    monkeypatch.chdir(here)
    of_the_file = load_recipe(project / "train.yaml", ["seed=7"])
    assert resolved(of_the_file)[0].test_datasets[0].path == str(project / "test.jsonl")
    of_the_command = load_recipe(project / "train.yaml", ["test_datasets.0.path=test.jsonl"])
    assert resolved(of_the_command)[0].test_datasets[0].path == str(here / "test.jsonl")
    overrides = Overrides(shared={"test_datasets": [{"path": "test.jsonl"}], "datasets.0.limit": 3}, folder=compared)
    of_the_comparison, problems = resolved(load_recipe(project / "train.yaml", (), overrides))
    assert of_the_comparison.test_datasets[0].path == str(compared / "test.jsonl")
    assert of_the_comparison.datasets[0].path == str(project / "train.jsonl")
    assert problems == []


def test_a_tilde_is_expanded_to_the_home(found, project, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    recipe, problems = found("base_model=~/model", "output_dir=~/runs")
    assert (recipe.base_model, recipe.output_dir, problems) == (str(project / "model"), str(project / "runs"), [])


def test_a_path_that_does_not_exist_and_looks_like_a_hub_id_is_one(found):
    recipe, problems = found("base_model=google/flan-t5-base", "datasets.0.path=knkarthick/dialogsum")
    assert (recipe.base_model, recipe.datasets[0].path, problems) == ("google/flan-t5-base", "knkarthick/dialogsum", [])
    assert model_folder(recipe.base_model) is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("datasets.0.path=trian.jsonl", "no data set at this path (got trian.jsonl, looked at "),
        ("datasets.0.path=./nowhere", "no data set at this path (got ./nowhere, looked at "),
        ("datasets.0.path=a/b/c", "no data set at this path (got a/b/c, looked at "),
        (
            "datasets.0.path=~nobody_of_that_name/x.csv",
            "no such user, or one without a home (got ~nobody_of_that_name/x.csv); correct it",
        ),
        ("datasets.0.path=two words", "no data set at this path (got two words, looked at "),
        ("base_model=/nowhere/model", "no model at this path (got /nowhere/model, looked at /nowhere/model); check it"),
        ("base_model=../modle", "no model at this path (got ../modle, looked at "),
        ("base_model=models/", "no model at this path (got models/, looked at "),
        ("base_model=train.jsonl", "a model is a folder with config.json (got "),
        ("base_model=.", "a model is a folder with config.json (got "),
        ("base_model=builtin/flan-t5-nan", "no such builtin model (got builtin/flan-t5-nan), did you mean "),
        ("datasets.0.path=builtin/dialog", "no such builtin data set (got builtin/dialog), did you mean "),
        ("base_model=~nobody_of_that_name/m", "no such user, or one without a home (got ~nobody_of_that_name/m); "),
        ("deepspeed=~nobody_of_that_name/d", "no such user, or one without a home (got ~nobody_of_that_name/d); "),
        ("output_dir=~nobody_of_that_name/o", "no such user, or one without a home (got ~nobody_of_that_name/o); "),
        ("evaluation.metrics=[~nobody_of_that_name/m.py]", "no such user, or one without a home (got ~nobody_of_that"),
        ("evaluation.metrics=[./m.py]", "no metric at this path (got ./m.py, looked at "),
        ("evaluation.metrics=[m.py]", "no metric at this path (got m.py, looked at "),
        ("evaluation.metrics=[rouge1, ../nowhere]", "no metric at this path (got ../nowhere, looked at "),
        ("revision_of_model=main", "revision_of_model has no effect for a local model; remove it"),
        ("datasets.0.revision=main", "revision has no effect for local data (got 'main' for train.jsonl); remove it"),
        ("datasets.0.name=default", "name has no effect for local data (got 'default' for train.jsonl); remove it"),
        ("datasets.0.split=train", "split has no effect for a single file (got 'train' for train.jsonl); remove it"),
        (
            "deepspeed=ds_configs/zero9.json",
            "no DeepSpeed config at this path (got ds_configs/zero9.json), did you mean ",
        ),
        ("deepspeed=../ds_configs/../../x", "no DeepSpeed config at this path (got ../ds_configs/../../x)"),
    ],
)
def test_a_path_that_does_not_exist_is_reported(found, setting, message):
    _, (problem,) = found(setting)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "name",
    ["a.xlsx", "data/a.XLSX", "a.xls", "a.ods", "a.docx", "a.pdf", "a.txt", "a.tsv.gz", "a.zip", "a.v2.parq.ZST"],
)
def test_a_missing_file_of_a_format_that_is_not_read_is_not_looked_for_on_the_hub(found, name):
    _, (problem,) = found(f"datasets.0.path={name}")
    assert problem.startswith(f"no data set at this path (got {name}, looked at ")
    assert "save the data as one of .jsonl, .json, .csv, .tsv, .parquet, .arrow" in problem


@pytest.mark.parametrize("name", ["a.jsonl", "data/a.CSV", "a.Parquet"])
def test_a_missing_file_of_a_format_that_is_read_is_not_looked_for_on_the_hub(found, name):
    _, (problem,) = found(f"datasets.0.path={name}")
    assert problem.startswith(f"no data set at this path (got {name}, looked at ")
    assert problem.endswith("; check it, or give a hub id as owner/name")


@pytest.mark.parametrize("name", ["a.xlsx", "A.XLSX", "a.txt", "a"])
def test_a_file_of_a_format_that_is_not_read_is_a_problem(found, project, name):
    (project / name).touch()
    _, (problem,) = found(f"datasets.0.path={name}")
    assert problem.startswith(f"this format is not supported (got {project / name}, extension ")
    assert problem.endswith("; save it as .csv, or as one of .jsonl, .json, .csv, .tsv, .parquet, .arrow")


def test_a_compressed_file_is_a_problem(found, project):
    (project / "a.jsonl.GZ").touch()
    _, (problem,) = found("test_datasets.0.path=a.jsonl.GZ")
    assert problem == f"compressed files are not supported (got {project / 'a.jsonl.GZ'}); decompress it first"


@pytest.mark.parametrize("name", ["w.safetensors", "owner/w.bin", "w.GGUF", "w.pt", "owner/w.zip"])
def test_missing_weights_are_not_looked_for_on_the_hub(found, name):
    _, (problem,) = found(f"base_model={name}")
    assert problem.startswith(f"no model at this path (got {name}, looked at ")


@pytest.mark.parametrize("name", ["owner/name-v1.0", "google/flan-t5.base", "owner/name.v2", "t5.1.1", "owner/bin"])
def test_an_id_of_the_hub_may_hold_dots(found, name):
    recipe, problems = found(f"base_model={name}", f"datasets.0.path={name}", f"evaluation.metrics=[{name}]")
    assert (recipe.base_model, recipe.datasets[0].path, recipe.evaluation.metrics) == (name, name, [name])
    assert problems == []


def test_all_missing_paths_are_reported_with_their_positions(project):
    (project / "a.yaml").write_text(
        "kind: train\nbase_model: ./x\ndatasets:\n  - path: train.jsonl\n  - path: y.csv\n"
        "test_datasets: [{path: ./z}]\nlearning_rate: 1e-3\ndeepspeed: d.json\n"
    )
    _, problems = resolved(load_recipe(project / "a.yaml"))
    assert [(problem.line, problem.column) for problem in problems] == [(2, 1), (5, 5), (6, 17), (8, 1)]


def test_compared_recipes_are_found_next_to_the_comparison_or_bundled(found, project):
    _, problems = found(name="both.yaml")
    assert problems == []
    _, problems = found(
        "recipes=[prompt.yaml, recipes/lora.yaml, full_ft.yaml, {recipe: nowhere.yaml}]", name="both.yaml"
    )
    assert problems == [
        "no recipe at this path (got full_ft.yaml); check the name",
        "no recipe at this path (got nowhere.yaml); check the name",
    ]


def test_only_the_bundled_folders_are_looked_up_in_the_package(found):
    recipe, problems = found("deepspeed=ds_configs/zero2.json")
    assert (recipe.deepspeed, problems) == (str(package_path("ds_configs/zero2.json")), [])
    _, (problem,) = found("deepspeed=summtune/commands/cli.py")
    assert problem.startswith("no DeepSpeed config at this path (got summtune/commands/cli.py)")


def test_a_split_of_a_json_file_may_be_named(found, project):
    (project / "all.json").write_text('{"train": [], "test": []}')
    _, problems = found("datasets.0.path=all.json", "datasets.0.split=train")
    assert problems == []


@pytest.mark.parametrize(
    ("keys", "assignment", "displaced"),
    [
        ("base_model: google/flan-t5-base\nrevision_of_model: abc\n", "base_model=./model", "revision_of_model"),
        (
            "test_datasets: [{path: owner/name, split: dev}]\n",
            "test_datasets.0.path=test.jsonl",
            "test_datasets.0.split",
        ),
        ("test_datasets: [{path: owner/name, name: x}]\n", "test_datasets.0.path=test.jsonl", "test_datasets.0.name"),
        (
            "test_datasets: [{path: owner/name, revision: x}]\n",
            "test_datasets.0.path=builtin/dialogues",
            "test_datasets.0.revision",
        ),
    ],
)
def test_an_assigned_path_displaces_the_keys_that_it_leaves_without_effect(project, keys, assignment, displaced):
    lines = {"kind": "kind: prompt", "base_model": "base_model: ./model", "test_datasets": "test_datasets: [{path: x}]"}
    for line in keys.splitlines():
        lines[line.partition(":")[0]] = line
    (project / "a.yaml").write_text("\n".join(lines.values()) + "\n")
    loaded = load_recipe(project / "a.yaml", [assignment])
    recipe, problems = resolved(loaded)
    assert problems == []
    (said,) = loaded.document.displaced
    assert said.startswith(f"--set {assignment} displaces {displaced} of {project}/a.yaml:")
    assert recipe.revision_of_model is None
    (source,) = recipe.test_datasets
    assert (source.split, source.name, source.revision) == (None, None, None)


def test_an_assigned_key_that_has_no_effect_on_the_path_of_the_file_is_an_error(found):
    _, problems = found("test_datasets.0.split=test")
    assert problems == ["split has no effect for a single file (got 'test' for test.jsonl); remove it"]


def test_a_file_of_outputs_is_relative_to_the_comparison_or_for_an_assignment_to_the_current_folder(found, project):
    (project / "both.yaml").write_text("kind: compare\nrecipes: [train.yaml, {predictions: theirs/a.csv}]\n")
    recipe, problems = found(name="both.yaml")
    assert (recipe.recipes[0], recipe.recipes[1].predictions) == ("train.yaml", str(project / "theirs" / "a.csv"))
    assert problems == []
    recipe, _ = found("recipes.1.predictions=b.csv", name="both.yaml")
    assert recipe.recipes[1].predictions == str(project / "b.csv")


def test_outputs_are_not_read_from_a_pipe(found, project):
    os.mkfifo(project / "a.csv")
    (project / "both.yaml").write_text("kind: compare\nrecipes: [train.yaml, {predictions: a.csv}]\n")
    _, (problem,) = found(name="both.yaml")
    assert f"(got {project / 'a.csv'}, a pipe)" in problem
