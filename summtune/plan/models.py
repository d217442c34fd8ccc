"""The model of a run: its family, its size, and which of its weights are trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from summtune.base.errors import ModelError
from summtune.machine.adapter_targets import linear_layers, wrong_targets
from summtune.machine.memory import trained_weights
from summtune.machine.model_limits import config_of, facts_of, misfits
from summtune.machine.model_shapes import KNOWN_MODELS, shape_of
from summtune.plan.beginning import Model, Parameters
from summtune.plan.vllm import problems_with_vllm
from summtune.recipe.adapters import Adapter, adapter_of
from summtune.recipe.adapters.folders import not_a_model
from summtune.recipe.families import facts_about, family_of, layer_names, no_family
from summtune.recipe.keys import LocalRecipe, PromptRecipe, TrainRecipe
from summtune.recipe.paths import gguf


def planned_adapter(recipe: TrainRecipe, folder: Path | None) -> Adapter | None:
    """Return the adapter of a training, on the layers of its model as far as they are known; None for all weights.

    Args:
        recipe: paths resolved.
        folder: of the model's files; None if it is not downloaded yet.
    """
    config = known_config(recipe.base_model, folder)
    known = config is not None and family_of(config) is not None
    linear = linear_layers(config, recipe.base_model, folder) if config is not None and known else ()
    return adapter_of(recipe, layer_names(config, linear))


def parameters_of(recipe: LocalRecipe, folder: Path | None) -> Parameters | None:
    """Return how many weights the model of a recipe has and trains; None if its sizes are not known.

    Args:
        recipe: paths resolved.
        folder: of the model's files; None if it is not downloaded yet.
    """
    shape = shape_of(recipe.base_model, folder)
    if shape is None:
        return None
    if isinstance(recipe, PromptRecipe):
        return Parameters(total=shape.parameters, trainable=0)
    adapter = planned_adapter(recipe, folder)
    trainable = trained_weights(shape, adapter)
    if trainable is None:
        return None
    return Parameters(total=shape.parameters + (0 if adapter is None else trainable), trainable=trainable)


def model_of(recipe: LocalRecipe, folder: Path, revision: str | None, content_sha256: str | None) -> Model:
    """Return the model of a run whose files are on this machine.

    Args:
        recipe: of the run, paths resolved.
        folder: of the files.
        revision: the commit of a hub model.
        content_sha256: over the files of a local model.

    Raises:
        ModelError: the model belongs to an unknown family.
    """
    config = config_of(folder)
    family = family_of(config)
    if family is None:
        raise ModelError(no_family(config, folder / "config.json"))
    return Model(
        base_model=recipe.base_model,
        family=family,
        folder=str(folder),
        revision=revision,
        content_sha256=content_sha256,
        parameters=parameters_of(recipe, folder),
    )


def problems_of_model(recipe: LocalRecipe, folder: Path | None, weights: bool = True) -> list[tuple[str, str]]:
    """Return what a recipe asks that its model cannot do: the key of the recipe, and why.

    Args:
        recipe: paths resolved.
        folder: of the model's files; None if it is not downloaded yet.
        weights: whether the model needs them; without, its config and tokenizer are enough.

    Raises:
        InputError: one of the files is far too large for its kind, or is not a regular file.
    """
    if folder is not None and (message := not_a_model(folder)) is not None:
        return [("base_model", message)]
    config = known_config(recipe.base_model, folder)
    found = [] if folder is None else misfits(facts_of(folder), recipe)
    if config is not None:
        found += problems_with_vllm(recipe, config)
    if weights and folder is not None and not found and not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.gguf")):
            return [("base_model", gguf(folder))]
        message = (
            f"the model has no safetensors (got {folder}), and pickled weights are never loaded; convert it with "
            "`save_pretrained` of transformers"
        )
        return [("base_model", message)]
    adapter = planned_adapter(recipe, folder) if isinstance(recipe, TrainRecipe) else None
    family = None if config is None else family_of(config)
    if config is None or family is None or adapter is None:
        return found
    if unsuited := facts_about(family).no_adapter(config):
        return [*found, ("adapter", unsuited)]
    if not weights:  # their names say which layers there are
        return found
    wrong = wrong_targets(adapter, config, recipe.base_model, folder)
    # A default has no position in the file.
    return [*found, *((key if getattr(recipe, key) is not None else "adapter", message) for key, message in wrong)]


def known_config(base_model: str, folder: Path | None) -> Mapping[str, Any] | None:
    """Return what is known of a model's config.json; None for an unknown hub model.

    Args:
        base_model: the model's name in the recipe.
        folder: of its files; None if it is not downloaded yet.
    """
    if folder is not None:
        return config_of(folder)
    return KNOWN_MODELS[base_model].config if base_model in KNOWN_MODELS else None
