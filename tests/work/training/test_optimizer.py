import pytest
import torch
from tiny_inputs import CONFIG
from transformers import get_scheduler

from summtune.recipe.adapters import adapter_of
from summtune.recipe.families import layer_names
from summtune.work.models.adapters import add_adapter
from summtune.work.models.loading import load_model
from summtune.work.training.optimizer import optimizer_of, schedule_of, set_learning_rate

# peft uses a deprecated name of transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture
def model(checkpoint):
    return load_model(checkpoint, torch.float32)


def recipe_of(prepare, **keys):
    return prepare(**keys).plan.recipe


def test_matrices_decay_but_norms_and_relative_positions_do_not(prepare, model):
    decayed, others = optimizer_of(model, recipe_of(prepare, weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    names = {id(weight): name for name, weight in model.named_parameters()}
    not_decayed = {names[id(weight)] for weight in others["params"]}
    assert {"shared.weight", "lm_head.weight"} <= {names[id(weight)] for weight in decayed["params"]}
    assert any("relative_attention_bias" in name for name in not_decayed)
    assert all("layer_norm" in name or "relative_attention_bias" in name for name in not_decayed)
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_only_weights_that_need_a_gradient_are_trained(prepare, model):
    model.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    (group,) = optimizer_of(model, recipe_of(prepare)).param_groups
    assert [id(weight) for weight in group["params"]] == [id(model.lm_head.weight)]


@pytest.mark.parametrize(
    ("name", "made"),
    [("adamw_torch_fused", "AdamW"), ("adamw_torch", "AdamW"), ("adafactor", "Adafactor"), ("sgd", "SGD")],
)
def test_each_optimizer_takes_a_step_at_its_learning_rate(prepare, model, name, made):
    optimizer = optimizer_of(model, recipe_of(prepare, optimizer=name))
    assert type(optimizer).__name__ == made
    set_learning_rate(optimizer, 0.25)
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    before = model.lm_head.weight.detach().clone()
    model(input_ids=torch.tensor([[5, 1]]), labels=torch.tensor([[6, 1]])).loss.backward()
    optimizer.step()
    assert not torch.equal(model.lm_head.weight, before)


@pytest.mark.parametrize("optimizer", ["adamw_torch_fused", "adafactor"])
def test_the_second_matrices_of_lora_learn_at_a_multiple_of_the_learning_rate(prepare, model, optimizer):
    recipe = recipe_of(prepare, adapter="lora", loraplus_lr_ratio=8, optimizer=optimizer, weight_decay=0.1)
    adapted = add_adapter(model, adapter_of(recipe, layer_names(CONFIG)), "owner/base")
    made = optimizer_of(adapted, recipe)
    made.load_state_dict(made.state_dict())  # as a resume does
    set_learning_rate(made, 0.5)
    rates = {id(weight): group["lr"] for group in made.param_groups for weight in group["params"]}
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            assert rates.pop(id(weight)) == (4.0 if "lora_B" in name else 0.5)
    assert not rates
    assert {group["weight_decay"] for group in made.param_groups} == {0.1}


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"])
def test_the_learning_rate_of_each_step_is_that_of_transformers(prepare, name):
    warmup = 0 if name == "constant" else 3
    keys = {"lr_scheduler": name, "max_steps": 10, "num_epochs": None} | ({"warmup_steps": warmup} if warmup else {})
    rate = schedule_of(recipe_of(prepare, learning_rate=0.5, **keys), 10)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=10)
    for step in range(10):
        assert rate(step) == schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()


def test_the_warm_up_may_be_a_share_of_the_steps(prepare):
    rate = schedule_of(recipe_of(prepare, learning_rate=1.0, warmup_ratio=0.25), 8)
    assert [rate(step) for step in range(3)] == [0.0, 0.5, 1.0]
