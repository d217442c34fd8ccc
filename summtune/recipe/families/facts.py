"""What the command line has to know of each family of models, as one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeGuard


class Limit(NamedTuple):
    """The most tokens that a part of the model accepts.

    Args:
        tokens: how many.
        key: of config.json that sets it.
        value: of that key.
    """

    tokens: int
    key: str
    value: int


class LayerNames(NamedTuple):
    """How a model calls the linear layers that adapters are put on by default, each by the end of its name.

    Args:
        query, key, value: projections of the attention.
        feed_forward: the last layer of each feed-forward block.
    """

    query: tuple[str, ...]
    key: tuple[str, ...]
    value: tuple[str, ...]
    feed_forward: tuple[str, ...]


class FamilyFacts(Protocol):
    """What differs between families and needs no torch; a module for each family.

    ``config`` is the content of config.json, as it is or with the defaults of its class filled in.
    """

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """Return whether a model is of this family."""
        ...

    def auto_class(self) -> str:
        """Return the class of transformers that loads a model of this family."""
        ...

    def generate_arguments(self, model_type: str | None) -> str:
        """Return what `generate` is given besides the prompt in the model card's code, where the prompt is ``ids``."""
        ...

    def embeddings(self) -> frozenset[str]:
        """Return the matrices that are looked up and not multiplied, by the end of their name: they take no adapter."""
        ...

    def layer_names(self, config: Mapping[str, Any]) -> LayerNames | None:
        """Return what the model calls its layers; None where it is not known."""
        ...

    def prompt_limit(self, config: Mapping[str, Any]) -> Limit | None:
        """Return the most tokens of a prompt; None where any length is taken or it is not known."""
        ...

    def summary_limit(self, config: Mapping[str, Any]) -> Limit | None:
        """Return the most tokens of a summary; None where any length is taken or it is not known."""
        ...

    def start(self, config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[str, int | None]:
        """Return the key of the token that a summary starts from, and its id; None where no file names one.

        Args:
            config: of the model.
            generation: generation_config.json.
        """
        ...

    def missing_start(self, config: Mapping[str, Any], complete: bool, where: Path) -> str | None:
        """Return what is missing where no file names the token that a summary starts from, and the advice.

        None where the model's class may name one.

        Args:
            config: of the model.
            complete: whether the defaults of its class are filled in.
            where: its config.json.
        """
        ...


def kind(config: Mapping[str, Any]) -> str:
    """Return the model_type of a config; empty where it has none."""
    value = config.get("model_type")
    return value if isinstance(value, str) else ""


def is_id(value: object) -> TypeGuard[int]:
    """Return whether a value of a config can be a token's id, or a count."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def first_id(*configs: Mapping[str, Any], key: str) -> int | None:
    """Return the id that the first of several configs has under ``key``; None where none has."""
    return next((config[key] for config in configs if is_id(config.get(key))), None)
