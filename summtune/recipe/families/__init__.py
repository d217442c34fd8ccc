"""The families of models, and how config.json determines the family of a model.

Each family has two modules: one without torch here (`FamilyFacts`), and one with torch in `summtune.work.models`
(`ModelFamily`). No other module asks what kind of model it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from typing_extensions import assert_never

from summtune.recipe.families import decoder_only, encoder_decoder
from summtune.recipe.families.facts import FamilyFacts, LayerNames, kind

Family: TypeAlias = Literal["encoder_decoder", "decoder_only"]


def facts_about(family: Family) -> FamilyFacts:
    """Return the module of a family that needs no torch."""
    match family:
        case "encoder_decoder":
            return encoder_decoder
        case "decoder_only":
            return decoder_only
        case _:
            assert_never(family)


def family_of(config: Mapping[str, Any]) -> Family | None:
    """Return the family of a model; None if summtune does not know it.

    Args:
        config: the content of config.json, or a config of transformers as a mapping.
    """
    families: tuple[Family, ...] = get_args(Family)
    return next((family for family in families if facts_about(family).recognizes(config)), None)


def layer_names(config: Mapping[str, Any] | None, linear: tuple[str, ...] = ()) -> LayerNames | None:
    """Return the names of the layers that adapters target by default; None if nothing is known of the model.

    Args:
        config: as for `family_of`; None if the model is not downloaded yet.
        linear: all linear layers but the head; empty if they are not known.
    """
    family = None if config is None else family_of(config)
    return None if config is None or family is None else facts_about(family).layer_names(config, linear)


def no_family(config: Mapping[str, Any], where: object) -> str:
    """Return the message for a model of an unknown family.

    Args:
        config: as for `family_of`.
        where: its file or folder.
    """
    got = f"model_type {kind(config)!r}" if kind(config) else "no model_type"
    if decoder_only.takes_more_than_text(config):
        got += ", which reads more than text, and whose text part is unknown,"
    elif "auto_map" in config:
        got += ", which needs its own code, and that is never run,"
    return (
        f"neither an encoder-decoder nor a decoder-only language model (got {got} in {where}); use one such as "
        "google/flan-t5-base or HuggingFaceTB/SmolLM2-135M-Instruct"
    )
