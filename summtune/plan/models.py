"""The model of a run: its family, and what is trained of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from summtune.base.errors import ModelError
from summtune.base.places import model_folder
from summtune.machine.adapter_targets import wrong_targets
from summtune.machine.memory import trained_weights
from summtune.machine.model_limits import config_of, facts_of, misfits
from summtune.machine.model_shapes import KNOWN_MODELS, ModelShape, shape_of
from summtune.plan.plan import ModelPlan
from summtune.recipe.adapters import adapter_of, quantization_of
from summtune.recipe.families import family_of, layer_names
from summtune.recipe.keys import Recipe


def plan_of_model(recipe: Recipe, content: str | None) -> tuple[ModelPlan, ModelShape | None]:
    """Return the model of a recipe, as far as it is known before anything is fetched, and its sizes.

    Args:
        recipe: of kind prompt or train, paths resolved.
        content: hash of a local model's files.
    """
    assert recipe.base_model is not None
    folder = model_folder(recipe.base_model)
    shape = shape_of(recipe.base_model, folder)
    config = known_config(recipe.base_model, folder)
    adapter = adapter_of(recipe, layer_names(config))
    total = trainable = None
    if shape is not None:
        total, trainable = shape.parameters, 0
        if recipe.kind == "train":
            trainable = trained_weights(shape, adapter)
        if adapter is not None:
            total = total + trainable if trainable is not None else None
    model = ModelPlan(
        base_model=recipe.base_model,
        family=None if config is None else family_of(config),
        folder=None if folder is None else str(folder),
        revision=recipe.revision_of_model,
        content_sha256=content,
        adapter=adapter,
        quantization=quantization_of(recipe),
        total_parameters=total,
        trainable_parameters=trainable,
    )
    return model, shape


def fetched_model(model: ModelPlan, recipe: Recipe, folder: Path, revision: str | None) -> ModelPlan:
    """Return the model of a recipe once its files are on this machine.

    Args:
        model: as `plan_of_model` returned it.
        recipe: of the run.
        folder: of the files.
        revision: the commit that was fetched.

    Raises:
        ModelError: the model is of another family, or cannot do what the recipe asks; all that is wrong.
    """
    wrong = problems_of_model(recipe, folder)
    if wrong:
        raise ModelError("\n".join(message for _, message in wrong))
    config = config_of(folder)
    known = {"folder": str(folder), "revision": revision, "family": family_of(config)}
    return model.model_copy(update=known | {"adapter": adapter_of(recipe, layer_names(config))})


def problems_of_model(recipe: Recipe, folder: Path | None) -> list[tuple[str, str]]:
    """Return what a recipe asks of its model that this cannot do: the key of the recipe, and why.

    Args:
        recipe: of kind prompt or train.
        folder: of the model's files; None while it is on the hub only.

    Raises:
        InputError: one of the files is far larger than such a file can be, or is something else.
    """
    assert recipe.base_model is not None
    config = known_config(recipe.base_model, folder)
    found = [] if folder is None else misfits(facts_of(folder), recipe)
    adapter = adapter_of(recipe, layer_names(config))
    if config is None or family_of(config) is None or adapter is None:
        return found
    wrong = wrong_targets(adapter, config, recipe.base_model, folder)
    # A default has no place in the file.
    return [*found, *((key if getattr(recipe, key) is not None else "adapter", message) for key, message in wrong)]


def known_config(base_model: str, folder: Path | None) -> Mapping[str, Any] | None:
    """Return what is known of a model's config.json; None for one that is on the hub and not a known one.

    Args:
        base_model: the recipe's name of it.
        folder: of its files; None while it is on the hub only.
    """
    if folder is not None:
        return config_of(folder)
    return KNOWN_MODELS[base_model].config if base_model in KNOWN_MODELS else None
