"""The bundled recipes are listed and copied."""

import pytest

from summtune.base.errors import InputError
from summtune.base.places import package_path
from summtune.commands.bundled_recipes import copy_recipe, list_recipes
from summtune.recipe.loading import load_recipe


def test_every_recipe_is_listed_with_its_purpose():
    folder = package_path("recipes")
    listed = {path.relative_to(folder).as_posix(): purpose for path, purpose in list_recipes()}
    assert {"zero_shot.yaml", "one_shot.yaml", "few_shot.yaml", "full_ft.yaml", "lora.yaml"} <= set(listed)
    assert {"compare.yaml", "compare_150.yaml"} <= set(listed)
    assert listed["full_ft.yaml"].startswith("Full fine-tuning of FLAN-T5-base: all 247,577,856 weights")
    assert not any("$schema" in purpose for purpose in listed.values())


def test_recipes_of_larger_models_are_listed_by_folder_after_those_of_the_first():
    folders = [path.parent.name for path, _ in list_recipes()]
    assert folders == sorted(folders, key=lambda name: (name != "recipes", name))
    assert {"smollm2-135m", "qwen3-4b", "llama-3.1-8b"} < set(folders)


@pytest.mark.parametrize("name", ["lora", "lora.yaml"])
def test_a_copy_equals_the_bundled_recipe(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (written,) = copy_recipe(name, None)
    assert written.read_bytes() == (package_path("recipes") / "lora.yaml").read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["lora.yaml"]


def test_a_recipe_of_a_larger_model_is_listed_and_copied_by_its_folder(tmp_path):
    folder = package_path("recipes")
    listed = {path.relative_to(folder).as_posix(): purpose for path, purpose in list_recipes()}
    assert listed["flan-t5-xxl/lora.yaml"].startswith("LoRA fine-tuning of FLAN-T5-XXL: 18,874,368 of 11,154,206,720")
    (written,) = copy_recipe("flan-t5-xxl/lora", tmp_path / "mine.yaml")
    assert written.read_bytes() == (folder / "flan-t5-xxl" / "lora.yaml").read_bytes()


def test_copying_a_comparison_also_copies_its_recipes(tmp_path):
    written = copy_recipe("compare", tmp_path / "mine.yaml")
    assert {path.name for path in written} == {
        "mine.yaml", "zero_shot.yaml", "one_shot.yaml", "few_shot.yaml", "full_ft.yaml", "lora.yaml",
    }  # fmt: skip
    assert load_recipe(tmp_path / "mine.yaml").recipe.kind == "compare"
    assert load_recipe(tmp_path / "lora.yaml").recipe.adapter == "lora"


def test_an_unknown_recipe_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(
        InputError, match=r"no such recipe \(got 'lroa'\), did you mean lora\?; `summtune recipes` lists"
    ):
        copy_recipe("lroa", tmp_path / "a.yaml")


def test_an_existing_file_is_not_overwritten_and_nothing_is_copied(tmp_path):
    (tmp_path / "lora.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"the file already exists \(got .*lora.yaml\); choose another path with --to"):
        copy_recipe("compare", tmp_path / "compare.yaml")
    assert [entry.name for entry in tmp_path.iterdir()] == ["lora.yaml"]
    assert (tmp_path / "lora.yaml").read_text() == "mine"
