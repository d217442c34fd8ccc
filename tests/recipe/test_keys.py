"""The schema of the keys: every one typed, bounded, described, and assigned to the kinds that read it."""

import pytest
from pydantic import ValidationError

from summtune.recipe.keys import Recipe, use_of
from summtune.recipe.sections import DatasetSource


def test_every_key_has_a_description_and_the_kinds_that_read_it():
    for key, field in Recipe.model_fields.items():
        assert field.description, key
        assert use_of(key).kinds, key


def test_the_resolved_recipe_has_every_key_of_its_kind_and_no_other():
    recipe = Recipe(kind="prompt", base_model="a/b", test_datasets=[DatasetSource(path="a/b")])
    values = recipe.as_given_for_kind()
    assert values["generation"]["max_new_tokens"] == 128
    assert values["seed"] == 42
    assert "learning_rate" not in values
    assert "recipes" not in values
    assert Recipe.model_validate(values) == recipe


def test_keys_that_only_control_execution_are_not_part_of_the_identity():
    execution = {key for key in Recipe.model_fields if not use_of(key).identity}
    assert execution == {
        "output_dir", "micro_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "torch_compile",
        "save_steps", "save_total_limit", "logging_steps", "deepspeed", "num_processes", "num_machines", "launcher",
        "slurm", "wandb_project", "wandb_entity", "wandb_name", "wandb_mode", "use_tensorboard", "mlflow_tracking_uri",
        "mlflow_experiment_name",
    }  # fmt: skip


def test_a_recipe_is_immutable():
    recipe = Recipe(kind="prompt")
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
    with pytest.raises(ValidationError):
        Recipe.model_validate({"kind": "train", key: value})
