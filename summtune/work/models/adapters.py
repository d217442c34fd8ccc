"""Adds the adapter of a plan to a model, through peft."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel
from typing_extensions import assert_never

from summtune.recipe.adapters import Adapter, Ia3, Lora
from summtune.work.models.adapter_layers import check_targets
from summtune.work.models.families import family_of_model

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel


_STARTING_VALUES = {"lora_B": 0.0, "ia3_l": 1.0}
"""Initial values of the weights that peft does not draw at random, by a part of their names."""


def add_adapter(model: PreTrainedModel, adapter: Adapter, base_model: str, revision: str | None = None) -> PeftModel:
    """Return ``model`` with a trainable adapter on it.

    Args:
        model: the frozen base.
        adapter: from the plan.
        base_model: the base that the saved adapter names: a hub id, or a folder on this machine.
        revision: of a hub model.

    Raises:
        ModelError: a layer cannot take an adapter (`check_targets`).
    """
    from peft import PeftModel, get_peft_model

    for key, layers in adapter.layers().items():
        check_targets(model, layers, key)
    adapted = get_peft_model(model, _peft_config(adapter, family_of_model(model).task_type()))
    # Only now, because peft replaces this name by the folder of the base and warns about it.
    adapted.peft_config["default"].base_model_name_or_path = base_model
    adapted.peft_config["default"].revision = revision
    assert isinstance(adapted, PeftModel)
    return adapted


def train_quantized(model: PreTrainedModel, gradient_checkpointing: bool) -> PreTrainedModel:
    """Return a quantized model that is prepared for training with an adapter.

    Args:
        model: loaded with a quantization.
        gradient_checkpointing: whether the backward pass computes the activations again.
    """
    from peft import prepare_model_for_kbit_training

    ready: PreTrainedModel = prepare_model_for_kbit_training(model, use_gradient_checkpointing=gradient_checkpointing)
    return ready


def _peft_config(adapter: Adapter, task: str) -> PeftConfig:
    from peft import IA3Config, LoraConfig

    match adapter:
        case Lora():
            return LoraConfig(
                task_type=task,
                r=adapter.r,
                lora_alpha=adapter.alpha,
                lora_dropout=adapter.dropout,
                target_modules=adapter.targets,
                use_dora=adapter.dora,
                use_rslora=adapter.rslora,
            )
        case Ia3():
            # peft matches a list with the ends of names regardless of dots: o would also match wo.
            inputs = rf"(.*\.)?({'|'.join(map(re.escape, adapter.feedforward))})" if adapter.feedforward else []
            return IA3Config(task_type=task, target_modules=adapter.targets, feedforward_modules=inputs)
        case _:
            assert_never(adapter)


def starting_value(name: str) -> float | None:
    """Return the value of every element of a weight before training; None if it is initialized at random.

    Args:
        name: of an adapter's weight, as stored.
    """
    return next((value for part, value in _STARTING_VALUES.items() if part in name.split(".")), None)


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Return ``model`` with the trained adapter in ``folder``."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, local_files_only=True)
