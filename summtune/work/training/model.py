"""Builds the model that a training trains, with its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from summtune.base.places import BUILTIN_MODELS
from summtune.plan.plan import TrainPlan
from summtune.runs.events import Events
from summtune.work.generation.decoding import generation_config
from summtune.work.models.adapters import add_adapter, train_quantized
from summtune.work.models.families import family_of_model
from summtune.work.models.loading import load_model
from summtune.work.models.on_cpu import quicken, quicken_adapter
from summtune.work.models.saved_model import freeze_computed


def model_to_train(plan: TrainPlan, bf16: bool, ends: Sequence[int], events: Events) -> PreTrainedModel | PeftModel:
    """Return the model to train, with its adapter.

    Args:
        plan: of the training.
        bf16: whether the forward and backward pass compute in bfloat16.
        ends: the ids that end a generated summary.
        events: to the waiting command.

    Raises:
        ModelError: the files cannot be read, or a layer cannot take the adapter.
    """
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)  # the adapter's random weights
    # Frozen weights need no more precision than the computation; peft keeps the adapter's weights in fp32.
    dtype = torch.bfloat16 if plan.adapter is not None and bf16 else torch.float32
    model: PreTrainedModel | PeftModel = load_model(Path(plan.model.folder), dtype, plan.quantization, events.say)
    on_cpu = plan.train.device == "cpu" and not recipe.torch_compile
    if on_cpu:
        quicken(model, "training", events.say)
    # The settings of the predict stage are saved with the model; generation settings of the base are not.
    model.generation_config = generation_config(model, recipe.generation, ends)
    freeze_computed(model)
    if plan.adapter is not None:
        # Only summtune knows the names of bundled models, so peft gets the folder.
        bundled = plan.model.base_model in BUILTIN_MODELS
        base_model = plan.model.folder if bundled else plan.model.base_model
        if plan.quantization is not None:
            model = train_quantized(model, recipe.gradient_checkpointing)
        model = add_adapter(model, plan.adapter, base_model, plan.model.revision, Path(plan.model.folder))
        if on_cpu:
            quicken_adapter(model)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.config.use_cache = False
    note = family_of_model(model).note(model)
    if note is not None:
        events.say(note)
    return model
