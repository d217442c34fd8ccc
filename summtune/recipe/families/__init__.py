"""The families of models: which one a model is of, told from its config.json.

What differs between families is in two modules each: what needs no torch here, behind `FamilyFacts`; the rest in
`summtune.work.models`, behind its own protocol. Nobody else asks what kind of model it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from typing_extensions import assert_never

from summtune.recipe.families import encoder_decoder
from summtune.recipe.families.facts import FamilyFacts, LayerNames, kind

Family: TypeAlias = Literal["encoder_decoder"]


def facts_about(family: Family) -> FamilyFacts:
    """Return what differs between families and needs no torch."""
    match family:
        case "encoder_decoder":
            return encoder_decoder
        case _:
            assert_never(family)


def family_of(config: Mapping[str, Any]) -> Family | None:
    """Return the family of a model; None where it is of none that summtune knows.

    Args:
        config: the content of config.json, or a config of transformers as a mapping.
    """
    families: tuple[Family, ...] = get_args(Family)
    return next((family for family in families if facts_about(family).recognizes(config)), None)


def layer_names(config: Mapping[str, Any] | None) -> LayerNames | None:
    """Return what a model calls the layers that adapters are put on by default; None where it is not known.

    Args:
        config: as for `family_of`; None while the model is on the hub.
    """
    family = None if config is None else family_of(config)
    return None if config is None or family is None else facts_about(family).layer_names(config)


def no_family(config: Mapping[str, Any], where: object) -> str:
    """Return the message for a model of another family.

    Args:
        config: as for `family_of`.
        where: the file or folder that it is from.
    """
    got = f"model_type {kind(config)!r}" if kind(config) else "no model_type"
    return (
        f"not an encoder-decoder model (got {got} in {where}); use a T5, BART, Pegasus or LED, such as "
        "google/flan-t5-base"
    )
