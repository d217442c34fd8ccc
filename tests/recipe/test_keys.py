"""The schema of the keys: every one typed, bounded, described, and assigned to the kinds that read it."""

import pytest
from made_up_recipes import prompt_recipe, train_recipe
from pydantic import ValidationError

from summtune.recipe.keys import EXECUTION, FORMS_OF, RECIPES, PromptRecipe, form_of, identity_keys, required_keys


def test_every_key_has_a_description_and_the_kinds_that_read_it():
    for kind, recipe in RECIPES.items():
        for key, field in recipe.model_fields.items():
            assert field.description, key
            assert kind in FORMS_OF[key]


def test_the_resolved_recipe_has_every_key_of_its_kind_and_no_other():
    recipe = prompt_recipe()
    values = recipe.model_dump(mode="json")
    assert values["generation"]["max_new_tokens"] == 128
    assert values["seed"] == 42
    assert "learning_rate" not in values
    assert "recipes" not in values
    assert PromptRecipe.model_validate(values) == recipe


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("prompt", ["base_model", "test_datasets"]),
        ("endpoint", ["endpoint", "test_datasets"]),
        ("train", ["base_model", "datasets", "test_datasets", "learning_rate"]),
        ("compare", ["recipes"]),
    ],
)
def test_a_form_requires_only_the_keys_that_have_no_default(kind, keys):
    assert required_keys(kind) == keys


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ({"kind": "prompt"}, "prompt"),
        ({"kind": "prompt", "endpoint": None}, "prompt"),
        ({"kind": "prompt", "endpoint": {}}, "endpoint"),
        ({"kind": "train", "endpoint": {}}, "train"),
        ({"kind": "endpoint"}, None),
        ({"kind": []}, None),
        ({}, None),
    ],
)
def test_the_kind_and_the_section_endpoint_select_the_form(values, form):
    assert form_of(values) == form


def test_keys_that_only_control_execution_are_not_part_of_the_identity():
    execution = {
        key for recipe in RECIPES.values() for key, field in recipe.model_fields.items() if EXECUTION in field.metadata
    }
    assert execution == {
        "output_dir", "micro_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "torch_compile",
        "save_steps", "save_total_limit", "logging_steps", "deepspeed", "num_processes", "num_machines", "launcher",
        "slurm", "wandb_project", "wandb_entity", "wandb_name", "wandb_mode", "use_tensorboard", "mlflow_tracking_uri",
        "mlflow_experiment_name", "price",
    }  # fmt: skip
    assert execution & set(identity_keys(train_recipe())) == set()


def test_a_recipe_is_immutable():
    recipe = prompt_recipe()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 7


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "7"),
        ("seed", 7.0),
        ("seed", True),
        ("bf16", 1),
        ("learning_rate", "1e-4"),
        ("lora_target_modules", "q"),
    ],
)
def test_values_are_not_coerced_to_another_type(key, value):
    with pytest.raises(ValidationError, match=key):
        train_recipe(**{key: value})
