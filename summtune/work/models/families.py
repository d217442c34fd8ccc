"""Finds what training and generation have to know of the family of a model."""

from __future__ import annotations

from transformers import PretrainedConfig, PreTrainedModel
from typing_extensions import assert_never

from summtune.recipe.families import Family, family_of
from summtune.work.models import encoder_decoder
from summtune.work.models.family import ModelFamily


def family_named(family: Family) -> ModelFamily:
    """Return what differs between families in a process that has torch."""
    match family:
        case "encoder_decoder":
            return encoder_decoder
        case _:
            assert_never(family)


def family_of_config(config: PretrainedConfig) -> Family | None:
    """Return the family of a model by its config; None where it is of none that summtune knows."""
    return family_of(config.to_dict())


def family_of_model(model: PreTrainedModel) -> ModelFamily:
    """Return the family of a loaded model; `load_model` loads none of another."""
    family = family_of_config(model.config)
    assert family is not None
    return family_named(family)
