"""The optimizer of a training, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.optimization import Adafactor, get_scheduler
from typing_extensions import assert_never

from summtune.recipe.keys import TrainRecipe

_RATIO = "rate_ratio"
"""The key of a group of weights that holds their learning rate as a multiple of the recipe's."""


def optimizer_of(model: nn.Module, recipe: TrainRecipe) -> torch.optim.Optimizer:
    """Return the optimizer of the trained weights.

    Weight decay applies to matrices and embeddings, as in transformers: not to biases, relative positions among them,
    and not to the weights of norms. With ``loraplus_lr_ratio`` the second matrices of LoRA have a faster group
    (LoRA+; Hayou et al., 2024).

    Args:
        model: whose weights that need a gradient are trained.
        recipe: of the training.
    """
    ratio = recipe.loraplus_lr_ratio or 1.0
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            faster = "lora_B" in name.split(".")
            members.setdefault((_decays(name, weight), ratio if faster else 1.0), []).append(weight)
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay if decays else 0.0, _RATIO: of_group}
        for (decays, of_group), weights in sorted(members.items(), key=lambda item: item[0], reverse=True)
    ]
    match recipe.optimizer:
        case "adamw_torch_fused" | "adamw_torch":
            fused = recipe.optimizer == "adamw_torch_fused"
            return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=fused)
        case "adafactor":
            made: torch.optim.Optimizer = Adafactor(
                groups, lr=recipe.learning_rate, scale_parameter=False, relative_step=False
            )
            return made
        case "sgd":
            return torch.optim.SGD(groups, lr=recipe.learning_rate)
    assert_never(recipe.optimizer)


def _decays(name: str, weight: torch.Tensor) -> bool:
    shape: tuple[int, ...] = getattr(weight, "ds_shape", weight.shape)  # ZeRO-3 flattens what it shards
    return len(shape) > 1 and "bias" not in name


def schedule_of(recipe: TrainRecipe, steps: int) -> Callable[[int], float]:
    """Return a function from the steps that are done to the learning rate of the next one; nothing else decides it.

    Args:
        recipe: of the training.
        steps: optimizer steps of the whole training.
    """
    warmup = recipe.warmup_steps or math.ceil(recipe.warmup_ratio * steps)
    unused = torch.optim.SGD([torch.zeros(1)])  # transformers offers its schedules only for an optimizer
    share: Callable[[int], float] = get_scheduler(
        recipe.lr_scheduler, unused, num_warmup_steps=warmup, num_training_steps=steps
    ).lr_lambdas[0]
    return lambda done: recipe.learning_rate * share(done)


def set_learning_rate(optimizer: Any, rate: float) -> None:
    """Set the learning rate of all weights, for the second matrices of LoRA+ at its ratio."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_RATIO]
