"""summtune doctor shows the machine, and which configs fit a GPU."""

import io
import json
import math
import re

import pytest

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError, RecipeError
from summtune.base.places import package_path
from summtune.commands import doctor as module
from summtune.commands.doctor import doctor
from summtune.machine.inventory import Entry

XL = package_path("recipes") / "flan-t5-xl" / "full_ft.yaml"


@pytest.fixture
def examine(monkeypatch):
    monkeypatch.setattr(
        module, "inventory", lambda: iter([Entry("GPUs", "none"), Entry("peft", "gone", "pip install peft")])
    )

    def print_to(recipe=None, gpu_memory=None, model=None, as_json=False, sets=()):
        console = SafeConsole(file=io.StringIO(), width=120)
        doctor(recipe, gpu_memory, model, as_json, console, sets)
        return console.file.getvalue()

    return print_to


def test_the_machine_is_shown_with_its_problems(examine):
    assert examine() == "  GPUs  none\n! peft  gone\n        pip install peft\n"


def test_the_table_shows_which_configs_fit_the_recipe(examine):
    text = examine(XL, 40)
    assert (
        "google/flan-t5-xl on GPUs of 40 GiB: micro_batch_size 4, sequence_len 1024, target_len 320, "
        "gradient_checkpointing on\n"
    ) in text
    rows = {line.split()[0]: line for line in text.splitlines() if "✓" in line or "✗" in line}
    assert list(rows)[:7] == ["none", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload", "lora"]
    assert (rows["none"].count("✗"), rows["zero2_offload"].count("✓")) == (4, 4)
    assert "by number of GPUs: 1: zero2_offload, 2: zero1, 4: zero1, 8: zero1\n" in text


def test_a_machine_that_cannot_train_the_recipe_shows_the_estimate(examine, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.missing_for_compiling", lambda: ["g++"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "zero3_offload" in examine(package_path("recipes") / "flan-t5-xxl" / "full_ft.yaml", 80)


def test_a_missing_path_in_the_recipe_is_reported(examine, project):
    path = project / "train.yaml"
    path.write_text(re.sub("base_model: .*", "base_model: ./nowhere", path.read_text()))
    with pytest.raises(RecipeError, match=r"no model at this path \(got ./nowhere"):
        examine(path, 40)


def test_a_model_without_a_recipe_is_estimated_with_the_defaults(examine):
    text = examine(gpu_memory=80, model="google/flan-t5-large")
    assert "google/flan-t5-large on GPUs of 80 GiB: micro_batch_size 8, sequence_len 512" in text
    assert "google/flan-t5-xxl on GPUs" in examine(XL, 80, "google/flan-t5-xxl")
    assert "google/flan-t5-base on GPUs of 7.5 GiB" in examine(gpu_memory=7.5)


def test_decoder_only_models_are_estimated_too(examine):
    text = examine(gpu_memory=24, model="Qwen/Qwen3-4B", as_json=False)
    assert "Qwen/Qwen3-4B on GPUs of 24 GiB: " in text
    assert "lora (adapter: lora)" in text, "all linear layers, by default"
    text = examine(package_path("recipes") / "llama-3.1-8b" / "full_ft.yaml", 80)
    assert "by number of GPUs: 1: zero2_offload, 2: zero2_offload, 4: zero1, 8: zero1\n" in text


def test_it_is_reported_if_no_config_fits(examine):
    assert "1: nothing fits" in examine(XL, 1)


def test_a_recipe_with_an_adapter_has_one_row(examine):
    text = examine(package_path("recipes") / "flan-t5-xxl" / "lora.yaml", 40)
    assert "lora (adapter: lora)" in text
    assert "zero2" not in text
    assert "all weights" not in text


def test_json_holds_the_machine_and_the_estimates(examine, capsys):
    assert examine(XL, 40, as_json=True) == ""
    said = json.loads(capsys.readouterr().out)
    assert said["machine"][0] == {"name": "GPUs", "value": "none", "problem": None}
    first = said["fits"][0]
    assert (first["way"], first["gpus"], first["fits"]) == ("none", 1, False)
    parts = ("weights", "gradients", "optimizer", "buffers", "activations")
    assert first["bytes"]["total"] == sum(first["bytes"][part] for part in parts)


def test_a_call_without_enough_information_for_an_estimate_is_refused(examine):
    with pytest.raises(InputError, match=r"needs the memory of the GPU \(got google/flan-t5-xl alone\); add"):
        examine(model="google/flan-t5-xl")
    for size in (0, -1, math.nan, math.inf, 1e308):
        with pytest.raises(
            InputError, match=rf"--gpu-memory must be a size in GiB \(got {re.escape(f'{size:g}')}\); give"
        ):
            examine(gpu_memory=size)
    with pytest.raises(InputError, match=r"only training is estimated \(got kind: prompt in .*zero_shot.yaml\)"):
        examine(package_path("recipes") / "zero_shot.yaml", 40)


def test_the_command_prints_the_machine_and_the_estimates(summtune):
    done = summtune("doctor", "--gpu-memory", "40", "--model", "google/flan-t5-xl")
    assert done.returncode == 0, done.stderr
    assert "Python 3." in done.stdout
    assert "google/flan-t5-xl on GPUs of 40 GiB" in done.stdout
    wrong = summtune("doctor", "--gpu-memory", "40", "--model", "google/flan-t5-lx")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean google/flan-t5-xl?" in wrong.stderr


def test_overrides_change_the_estimate(examine, capsys):
    text = examine(package_path("recipes") / "lora.yaml", 40, sets=["micro_batch_size=2", "val_set_size=0"])
    assert "on GPUs of 40 GiB: micro_batch_size 2, " in text
    assert "--set val_set_size=0 displaces early_stopping_patience of " in capsys.readouterr().err
    with pytest.raises(InputError, match=r"got seed=1 alone\); name the recipe"):
        examine(sets=["seed=1"])
