"""What is wrong with a recipe, its machine, and the recipes that it compares."""

import sys
from collections import Counter

import pytest

from summtune.base import files
from summtune.base.errors import RecipeError
from summtune.deepspeed import configs
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
def test_what_only_this_machine_can_tell_is_told_with_its_place(project, setting, message):
    adapter = ["adapter=lora"] if "lora" in setting else []
    (problem,) = problems(project / "train.yaml", setting, *adapter)
    assert problem.startswith(message)


def test_a_foreign_placeholder_has_its_line_and_column(project):
    path = project / "foreign.yaml"
    path.write_text((project / "train.yaml").read_text() + '\nprompt_template: "Say: {{ text }}"\n')
    with pytest.raises(
        RecipeError, match=r"foreign.yaml:\d+:1: prompt_template has a placeholder .*got \{\{ text \}\}"
    ):
        check(path)


def test_a_foreign_placeholder_in_an_override_of_a_comparison_is_told(project):
    path = project / "both.yaml"
    path.write_text(
        "kind: compare\nrecipes: [train.yaml, {recipe: train.yaml, name: b}]\n"
        "overrides: {prompt_template: 'Say: {text}'}\n"
    )
    (problem,) = problems(path)
    assert "not replaced (got {text}); write {dialogue}" in problem


def test_slurm_and_several_machines_are_fine_also_where_there_are_none(project):
    check(project / "train.yaml", ["launcher=slurm", "slurm={time: '1:00:00'}"])
    check(project / "train.yaml", ["num_machines=2", "num_processes=2"])


@pytest.mark.parametrize(
    ("setting", "package"),
    [("wandb_project=p", "wandb"), ("use_tensorboard=true", "tensorboard"), ("mlflow_tracking_uri=u", "mlflow")],
)
def test_a_tracker_that_is_not_installed_is_told(project, monkeypatch, setting, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: None)
    (problem,) = problems(project / "train.yaml", setting)
    key = setting.split("=")[0]
    assert problem == f"{key} needs {package}, which is not installed; pip install {package}"


def test_deepspeed_that_is_not_installed_is_told(project, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: None)
    assert problems(project / "train.yaml", "deepspeed=ds_configs/zero2.json") == [
        "deepspeed is not installed on this machine; pip install deepspeed"
    ]


def test_a_deepspeed_config_that_contradicts_the_recipe_is_told(project):
    (project / "d.json").write_text('{"train_batch_size": 8}')
    (problem,) = problems(project / "train.yaml", "deepspeed=d.json")
    assert problem.startswith("the DeepSpeed config sets what the recipe sets (got train_batch_size in ")


def test_all_that_is_wrong_with_a_deepspeed_config_is_told_at_once(project):
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
    assert (parts["train"].recipe.lora_r, parts["train"].recipe.learning_rate) == (8, 2e-3)
    assert parts["prompt"].identity == resolve(project / "prompt.yaml").identity


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
