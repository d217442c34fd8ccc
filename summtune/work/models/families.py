"""Finds the module with the differences of a model's family that training and generation use."""

from __future__ import annotations

from transformers import PretrainedConfig, PreTrainedModel
from typing_extensions import assert_never

from summtune.recipe.families import Family, family_of
from summtune.work.models import decoder_only, encoder_decoder
from summtune.work.models.family import ModelFamily


def family_named(family: Family) -> ModelFamily:
    """Return the module of a family that uses torch."""
    match family:
        case "encoder_decoder":
            return encoder_decoder
        case "decoder_only":
            return decoder_only
        case _:
            assert_never(family)


def family_of_config(config: PretrainedConfig) -> Family | None:
    """Return the family of a model by its config; None if summtune does not know it."""
    return family_of(config.to_dict())


def family_of_model(model: PreTrainedModel) -> ModelFamily:
    """Return the family of a loaded model; `load_model` only loads models of known families."""
    family = family_of_config(model.config)
    assert family is not None
    return family_named(family)
