"""Valid recipes as objects, and the plans of recipe files, without a command."""

from summtune.plan.beginning import Model, RoleData, TrainData
from summtune.plan.draft import EndpointDraft, begin
from summtune.plan.keys import TrainKeys
from summtune.plan.launch import Batch, Launch
from summtune.plan.models import model_of
from summtune.plan.plan import TrainPlan
from summtune.plan.preparation import prepare_data
from summtune.plan.resolve import resolve
from summtune.recipe.keys import PromptRecipe, TrainRecipe

CPU = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")


def prompt_recipe(**keys):
    required = {"kind": "prompt", "base_model": "google/flan-t5-base", "test_datasets": [{"path": "owner/talks"}]}
    return PromptRecipe.model_validate(required | keys)


def train_recipe(**keys):
    required = {
        "kind": "train",
        "base_model": "google/flan-t5-base",
        "datasets": [{"path": "owner/talks"}],
        "test_datasets": [{"path": "owner/talks"}],
        "learning_rate": 1e-4,
    }
    return TrainRecipe.model_validate(required | keys)


def made_up_plan(recipe=None, predict=CPU, train=None, **fields):
    """Return the plan of a training that nobody begins."""
    recipe = recipe or train_recipe()
    train = train or predict
    role = RoleData(dialogues=8, pairs=8, sha256="0" * 64, sources=[])
    known = {
        "name": "lora",
        "identity": "0" * 64,
        "keys": TrainKeys(train="1" * 64, predict="2" * 64, evaluate="0" * 64, report="3" * 64),
        "recipe_path": "lora.yaml",
        "created_at": "2026-01-01T00:00:00Z",
        "git_commit": None,
        "versions": {},
        "model": Model(
            base_model=recipe.base_model,
            family="encoder_decoder",
            folder="/model",
            revision=None,
            content_sha256=None,
            parameters=None,
        ),
        "data": TrainData(test=role, train=role, validation=None, leakage={}),
        "batch": Batch.of(recipe, train.processes, 8),
        "adapter": None,
        "quantization": None,
        "deepspeed": None,
    }
    return TrainPlan(recipe=recipe, predict=predict, train=train, **(known | fields))


def begun_plan(recipe, sets=(), into=None, warn=lambda text: None):
    """Return the plan of a prompt or train recipe of local files, and write its data below ``into``."""
    draft = resolve(recipe, sets)
    data = prepare_data(draft.recipe, into or draft.run_dir, warn)
    if isinstance(draft, EndpointDraft):
        return begin(draft, None, data)
    return begin(draft, model_of(draft.recipe, draft.model_folder, None, draft.content_sha256), data)
