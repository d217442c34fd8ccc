"""A recipe becomes a plan: devices counted, stages listed, comparisons checked through and through."""

import sys

import pytest

from summtune.checking import check
from summtune.devices import Gpu
from summtune.errors import InputError, RecipeError
from summtune.resolution import resolve

A100 = Gpu("A100", 40 << 30, (8, 0))
V100 = Gpu("V100", 32 << 30, (7, 0))


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    """No GPU; a test appends those it wants."""
    seen = []
    monkeypatch.setattr("summtune.resolution.visible_gpus", lambda: list(seen))
    return seen


def problems(path, *sets):
    with pytest.raises(RecipeError) as caught:
        check(path, sets)
    return [problem.message for problem in caught.value.problems]


def launches(plan):
    return {
        stage.name: stage.launch and (stage.launch.distribution, stage.launch.processes, stage.launch.device)
        for stage in plan.stages
    }


def test_on_a_cpu_one_process_does_everything(project):
    assert launches(resolve(project / "prompt.yaml").plan) == {
        "predict": ("none", 1, "cpu"), "evaluate": None, "report": None,
    }  # fmt: skip


def test_every_visible_device_is_used(project, gpus):
    gpus += [A100, A100]
    plan = resolve(project / "train.yaml", ["num_processes=null"]).plan
    assert launches(plan)["train"] == ("data_parallel", 2, "cuda")
    assert plan.batch.global_batch == 16
    assert launches(resolve(project / "train.yaml").plan)["train"] == ("none", 1, "cuda")


def test_more_processes_than_devices_are_refused(project, gpus):
    gpus.append(A100)
    match = r"num_processes exceeds the visible devices \(got 2, 1 visible\); lower it"
    with pytest.raises(InputError, match=match):
        resolve(project / "train.yaml", ["num_processes=2"])


def test_deepspeed_trains_and_plain_processes_predict(project):
    plan = resolve(project / "train.yaml", ["deepspeed=ds_configs/zero3.json", "num_processes=2"]).plan
    assert launches(plan)["train"] == ("deepspeed", 2, "cpu")
    assert launches(plan)["predict"] == ("data_parallel", 2, "cpu")
    assert [stage.launch.config_file for stage in plan.stages[:2]] == ["accelerate.yaml", "accelerate.predict.yaml"]
    assert plan.stages[0].launch.zero_stage == 3


def test_the_model_is_counted_and_its_memory_estimated(project, gpus):
    full = resolve(project / "train.yaml")
    assert full.plan.model.trainable_parameters == full.plan.model.total_parameters == 247_577_856
    assert full.memory.weights == 4 * 247_577_856
    lora = resolve(project / "train.yaml", ["adapter=lora"])
    assert (lora.plan.model.trainable_parameters, lora.plan.model.total_parameters) == (3_538_944, 251_116_800)
    sharded = resolve(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"])
    assert sharded.memory.weights == 4 * 247_577_856, "no bf16 on this CPU as far as the command knows"
    gpus.append(A100)
    assert resolve(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"]).memory.weights == 2 * 247_577_856
    gpus[0] = V100
    assert resolve(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"]).memory.weights == 4 * 247_577_856


def test_where_the_sizes_cannot_be_told_nothing_is_claimed(project, write_model):
    write_model(project / "bart", model_type="bart")
    resolved = resolve(project / "train.yaml", ["base_model=./bart"])
    assert (resolved.memory, resolved.plan.model.total_parameters) == (None, None)
    odd = resolve(project / "train.yaml", ["adapter=lora", "lora_target_modules=[query]"])
    assert (odd.memory, odd.plan.model.trainable_parameters) == (None, None)
    assert resolve(project / "prompt.yaml").memory is None


def test_the_run_directory_is_named_after_the_recipe_and_its_identity(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resolved = resolve(project / "train.yaml")
    assert resolved.run_dir == tmp_path / "outputs" / f"train-{resolved.plan.identity[:8]}"
    assert resolve(project / "train.yaml", ["output_dir=mine"]).run_dir == project / "mine"
    assert resolve(project / "train.yaml", ["output_dir=mine"], tmp_path / "x").run_dir == tmp_path / "x"
    assert not (tmp_path / "outputs").exists()


def test_a_comparison_shares_the_runs_of_its_recipes(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comparison = resolve(project / "both.yaml")
    parts = dict(comparison.parts)
    assert parts["train"].run_dir == resolve(project / "train.yaml").run_dir
    elsewhere = resolve(project / "both.yaml", output_dir=tmp_path / "x")
    assert elsewhere.run_dir == tmp_path / "x"
    assert dict(elsewhere.parts)["train"].run_dir.parent == tmp_path / "x" / "systems"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "prompt_template=summarise",
            "prompt_template is neither a name nor a text with {dialogue} (got 'summarise'), did you mean summarize?",
        ),
        ("prompt_template='{dialogue} {dialogue}'", "prompt_template needs {dialogue} once (got 2 times in"),
        ("num_machines=2", "only one machine is available in this version (got 2)"),
        ("base_model=./nowhere", "no model at this path (got ./nowhere"),
    ],
)
def test_what_only_this_machine_can_tell_is_told_with_its_place(project, setting, message):
    (problem,) = problems(project / "train.yaml", setting)
    assert problem.startswith(message)


def test_slurm_is_not_there_yet(project):
    (problem,) = problems(project / "train.yaml", "launcher=slurm", "slurm={time: '1:00'}")
    assert problem.startswith("`launcher: slurm` is not available in this version")


@pytest.mark.parametrize(
    ("setting", "package"),
    [("wandb_project=p", "wandb"), ("use_tensorboard=true", "tensorboard"), ("mlflow_tracking_uri=u", "mlflow")],
)
def test_a_tracker_that_is_not_installed_is_told(project, monkeypatch, setting, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("summtune.resolution.importlib.util.find_spec", lambda name: None)
    (problem,) = problems(project / "train.yaml", setting)
    key = setting.split("=")[0]
    assert problem == f"{key} needs {package}, which is not installed; pip install {package}"


def test_deepspeed_that_is_not_installed_is_told(project, monkeypatch):
    monkeypatch.setattr("summtune.resolution.importlib.util.find_spec", lambda name: None)
    assert problems(project / "train.yaml", "deepspeed=ds_configs/zero2.json") == [
        "deepspeed is not installed on this machine; pip install deepspeed"
    ]


def test_a_deepspeed_config_that_contradicts_the_recipe_is_told(project):
    (project / "d.json").write_text('{"train_batch_size": 8}')
    (problem,) = problems(project / "train.yaml", "deepspeed=d.json")
    assert problem.startswith("the DeepSpeed config sets what the recipe sets (got train_batch_size in ")


def test_every_problem_of_every_compared_recipe_is_told(project):
    (project / "prompt.yaml").write_text("kind: prompt\nbase_modle: x\ntest_datasets: [{path: test.jsonl}]\n")
    text = (project / "train.yaml").read_text()
    (project / "train.yaml").write_text(text + "lora_r: 8\n")
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes: [prompt.yaml, train.yaml, empty.yaml]\noverrides: {sequence_len: 64}\n"
    )
    (project / "empty.yaml").write_text("")
    unknown, ignored, empty = problems(project / "both.yaml")
    assert unknown == "unknown key 'base_modle', did you mean base_model?"
    assert ignored.startswith("lora_r has no effect without `adapter: lora`")
    assert "empty.yaml: the recipe is empty" in empty


def test_an_override_that_nobody_reads_is_told(project):
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes: [prompt.yaml, train.yaml]\noverrides:\n  seed: 7\n  lora_r: 8\n  deepspeed: null\n"
    )
    with pytest.raises(RecipeError) as caught:
        check(project / "both.yaml")
    assert [str(problem).split("both.yaml")[1] for problem in caught.value.problems] == [
        ":5:3: override lora_r is read by none of the recipes; remove it",
        ":6:3: override deepspeed is read by none of the recipes; remove it",
    ]


def test_an_override_that_one_recipe_reads_is_laid_there_alone(project):
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes: [prompt.yaml, {recipe: train.yaml, overrides: {adapter: lora}}]\n"
        "overrides: {lora_r: 8, learning_rate: 2e-3}\n"
    )
    parts = dict(resolve(project / "both.yaml").parts)
    assert (parts["train"].plan.recipe.lora_r, parts["train"].plan.recipe.learning_rate) == (8, 2e-3)
    assert parts["prompt"].plan.identity == resolve(project / "prompt.yaml").plan.identity


def test_comparisons_are_not_compared(project):
    (project / "outer.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, both.yaml]\n")
    (problem,) = problems(project / "outer.yaml")
    assert problem == (
        "a comparison compares prompt and train recipes (got both.yaml, which is a comparison); list its recipes here"
    )


def test_a_comparison_of_itself_ends(project):
    (project / "both.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, both.yaml]\n")
    (problem,) = problems(project / "both.yaml")
    assert "which is a comparison" in problem


def test_the_commit_of_the_recipe_is_recorded_where_there_is_one(project):
    assert resolve(project / "prompt.yaml").plan.git_commit is None
