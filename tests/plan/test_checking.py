"""Problems of a recipe, of this machine, and of the recipes that it compares."""

import sys
from collections import Counter

import pytest

from summtune.base import files
from summtune.base.errors import RecipeError
from summtune.deepspeed import configs
from summtune.machine.devices import Gpu
from summtune.plan.checking import check
from summtune.plan.resolve import resolve
from summtune.recipe import yaml_reader


def problems(path, *sets):
    with pytest.raises(RecipeError) as caught:
        check(path, sets)
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "prompt_template=summarise",
            "prompt_template is neither a name nor a text with {dialogue} (got 'summarise'), did you mean summarize?",
        ),
        ("prompt_template='{dialogue} {dialogue}'", "prompt_template needs {dialogue} once (got 2 times in"),
        (
            "lora_target_modules=[q, quary]",
            "lora_target_modules lists the ends of names of linear layers (got 'quary'",
        ),
        ("base_model=./nowhere", "no model at this path (got ./nowhere"),
    ],
)
def test_a_problem_that_depends_on_the_machine_is_reported_with_its_position(project, setting, message):
    adapter = ["adapter=lora"] if "lora" in setting else []
    (problem,) = problems(project / "train.yaml", setting, *adapter)
    assert problem.startswith(message)


def test_an_unknown_placeholder_is_reported_with_line_and_column(project):
    path = project / "foreign.yaml"
    path.write_text((project / "train.yaml").read_text() + '\nprompt_template: "Say: {{ text }}"\n')
    with pytest.raises(
        RecipeError, match=r"foreign.yaml:\d+:1: prompt_template has a placeholder .*got \{\{ text \}\}"
    ):
        check(path)


def test_an_unknown_placeholder_in_an_override_of_a_comparison_is_reported(project):
    path = project / "both.yaml"
    path.write_text(
        "kind: compare\nrecipes: [train.yaml, {recipe: train.yaml, name: b}]\n"
        "overrides: {prompt_template: 'Say: {text}'}\n"
    )
    (problem,) = problems(path)
    assert "not replaced (got {text}); write {dialogue}" in problem


def test_recipes_for_slurm_or_several_machines_are_valid_on_any_machine(project):
    check(project / "train.yaml", ["launcher=slurm", "slurm={time: '1:00:00'}"])
    check(project / "train.yaml", ["num_machines=2", "num_processes=2"])


def test_more_processes_than_devices_are_reported(project, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", lambda: [Gpu("A100", 40 << 30, (8, 0))])
    (problem,) = problems(project / "train.yaml", "num_processes=2")
    assert problem.startswith("num_processes exceeds the visible devices (got 2, 1 visible); set it to 1, or remove")


def test_a_model_with_pickled_weights_only_is_reported(project):
    (project / "model" / "model.safetensors").rename(project / "model" / "pytorch_model.bin")
    (problem,) = problems(project / "train.yaml")
    assert problem.startswith(f"the model has no safetensors (got {project / 'model'})")
    assert "convert it with `save_pretrained`" in problem


def test_an_output_dir_that_the_script_of_a_slurm_job_cannot_name_is_reported(project):
    slurm = ("launcher=slurm", "num_processes=null", "slurm={time: '1:00:00'}")
    (problem,) = problems(project / "train.yaml", *slurm, 'output_dir=/a"b')
    assert 'must not have quotes, backslashes or control characters in its path (got /a"b); choose another' in problem


@pytest.mark.parametrize(
    ("setting", "package"),
    [("wandb_project=p", "wandb"), ("use_tensorboard=true", "tensorboard"), ("mlflow_tracking_uri=u", "mlflow")],
)
def test_a_tracker_that_is_not_installed_is_reported(project, monkeypatch, setting, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: None)
    (problem,) = problems(project / "train.yaml", setting)
    key = setting.split("=")[0]
    assert problem == f"{key} needs the package {package} (got none installed); pip install {package}"


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [("train.yaml", "adapter=qlora"), ("prompt.yaml", "load_in_4bit=true")],
)
def test_weights_of_four_bits_without_bitsandbytes_are_reported(project, monkeypatch, recipe, setting):
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: None)
    assert problems(project / recipe, setting) == [
        f"`{setting.replace('=', ': ')}` needs the package bitsandbytes (got none installed); pip install "
        "'summtune[qlora]'"
    ]


@pytest.mark.parametrize("complete", [True, False])
def test_an_adapter_that_is_given_as_a_model_is_reported_with_its_base(project, write_model, complete):
    folder = write_model(project / "adapter") if complete else project / "adapter"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    (problem,) = problems(project / "train.yaml", "base_model=./adapter")
    assert (
        f"is an adapter, not a model (got {folder}, an adapter of owner/base); set base_model to owner/base" in problem
    )


def test_a_deepspeed_config_without_the_package_is_reported(project, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: None)
    assert problems(project / "train.yaml", "deepspeed=ds_configs/zero2.json") == [
        "a DeepSpeed config needs the package deepspeed (got none installed); pip install deepspeed"
    ]


def test_a_deepspeed_config_that_contradicts_the_recipe_is_reported(project):
    (project / "d.json").write_text('{"train_batch_size": 8}')
    (problem,) = problems(project / "train.yaml", "deepspeed=d.json")
    assert problem.startswith("the DeepSpeed config sets what the recipe sets (got train_batch_size in ")


def test_all_problems_of_a_deepspeed_config_are_reported_at_once(project):
    (project / "d.json").write_text(
        '{"fp16": {"enabled": true}, "optimiser": {}, "gradient_clipping": 0.5,'
        '"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}, "offload_optimizer": "cpu"}}'
    )
    found = problems(project / "train.yaml", "deepspeed=d.json", "optimizer=adafactor")
    words = (
        "no such key",
        "offload_optimizer is not an object",
        "offload_param has no effect",
        "got gradient_clipping",
    )
    assert [any(word in problem for problem in found) for word in (*words, "got fp16", "Adafactor")] == [True] * 6
    assert len(found) == 6


def test_all_problems_of_all_compared_recipes_are_reported(project):
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


def test_an_override_that_no_recipe_reads_is_reported(project):
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes: [prompt.yaml, train.yaml]\noverrides:\n  seed: 7\n  lora_r: 8\n  deepspeed: null\n"
    )
    with pytest.raises(RecipeError) as caught:
        check(project / "both.yaml")
    assert [str(problem).split("both.yaml")[1] for problem in caught.value.problems] == [
        ":5:3: none of the recipes reads the override lora_r; remove it",
        ":6:3: none of the recipes reads the override deepspeed; remove it",
    ]


def test_an_override_applies_only_to_the_recipe_that_reads_it(project):
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes: [prompt.yaml, {recipe: train.yaml, overrides: {adapter: lora}}]\n"
        "overrides: {lora_r: 8, learning_rate: 2e-3}\n"
    )
    parts = dict(resolve(project / "both.yaml").parts)
    assert (parts["train"].recipe.lora_r, parts["train"].recipe.learning_rate) == (8, 2e-3)
    assert parts["prompt"].identity == resolve(project / "prompt.yaml").identity


def test_a_comparison_of_a_comparison_is_refused(project):
    (project / "outer.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, both.yaml]\n")
    (problem,) = problems(project / "outer.yaml")
    assert problem == (
        "a comparison cannot contain another comparison (got both.yaml); list the recipes of that one here"
    )


def test_a_comparison_that_lists_itself_is_refused(project):
    (project / "both.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, both.yaml]\n")
    (problem,) = problems(project / "both.yaml")
    assert "a comparison cannot contain another comparison" in problem


def test_a_comparison_reads_each_of_its_recipes_and_its_deepspeed_config_once(project, monkeypatch):
    (project / "d.json").write_text('{"zero_optimization": {"stage": 2}}')
    text = (project / "train.yaml").read_text()
    (project / "train.yaml").write_text(text + "deepspeed: d.json\n")
    (project / "both.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, train.yaml]\noverrides: {seed: 7}\n")
    reads = Counter()
    original = files.read_bounded

    def read_bounded(path, most):
        reads[path.name] += 1
        return original(path, most)

    for module in (yaml_reader, configs):
        monkeypatch.setattr(module, "read_bounded", read_bounded)
    resolve(project / "both.yaml")
    assert reads == {"both.yaml": 1, "prompt.yaml": 1, "train.yaml": 1, "d.json": 1}


def test_an_assignment_of_a_comparison_reaches_the_recipes_that_read_it(project):
    checked = check(project / "both.yaml", ["seed=7", "learning_rate=2e-3", "baseline=train"])
    parts = {name: part.recipe for name, part in checked.parts}
    assert (parts["prompt"].seed, parts["train"].seed, parts["train"].learning_rate) == (7, 7, 2e-3)
    assert checked.recipe.baseline == "train"


def test_an_assignment_of_a_comparison_outranks_its_overrides(project):
    (project / "both.yaml").write_text(
        "kind: compare\nrecipes: [prompt.yaml, {recipe: train.yaml, overrides: {seed: 2}}]\noverrides: {seed: 1}\n"
    )
    checked = check(project / "both.yaml", ["seed=7"])
    assert [part.recipe.seed for _, part in checked.parts] == [7, 7]


def test_a_path_in_an_assignment_of_a_comparison_starts_from_the_current_folder(project, monkeypatch):
    (project / "below").mkdir()
    (project / "test.jsonl").rename(project / "below" / "other.jsonl")
    (project / "test.jsonl").touch()
    monkeypatch.chdir(project / "below")
    checked = check(project / "both.yaml", ["test_datasets.0.path=other.jsonl"])
    found = {part.recipe.test_datasets[0].path for _, part in checked.parts}
    assert found == {str(project / "below" / "other.jsonl")}


@pytest.mark.parametrize("assignment", ["exemplars.split=dev", "lora_r=8", "slurm.nodes=2", "seed=null"])
def test_an_assignment_that_none_of_the_compared_recipes_reads_is_an_error(project, assignment):
    with pytest.raises(RecipeError) as caught:
        check(project / "both.yaml", [assignment])
    key = assignment.partition("=")[0]
    (problem,) = map(str, caught.value.problems)
    assert problem == f"--set {assignment}: none of the recipes reads {key}; remove it"


def test_an_unknown_key_of_an_assignment_is_unknown_to_a_comparison_too(project):
    (problem,) = problems(project / "both.yaml", "sede=7")
    assert problem == "unknown key 'sede', did you mean seed?"
    (problem,) = problems(project / "both.yaml", "generation.num_beam=7")
    assert problem == "unknown key 'num_beam' in generation, did you mean num_beams?"


def test_an_assignment_of_a_comparison_makes_the_same_run_as_an_override_in_its_file(project):
    (project / "same.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, train.yaml]\noverrides: {seed: 7}\n")
    assert resolve(project / "both.yaml", ["seed=7"]).identity == resolve(project / "same.yaml").identity


def test_a_displaced_key_makes_the_same_run_as_a_file_without_it(project):
    text = (project / "train.yaml").read_text()
    (project / "epochs.yaml").write_text(text + "num_epochs: 2\n")
    (project / "steps.yaml").write_text(text + "max_steps: 5\n")
    assert resolve(project / "epochs.yaml", ["max_steps=5"]).identity == resolve(project / "steps.yaml").identity
