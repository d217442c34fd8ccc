"""The protocol of a family of models without torch: what the command line needs to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeGuard


class Limit(NamedTuple):
    """The maximum number of tokens that a part of the model accepts.

    Args:
        tokens: the maximum.
        key: of config.json that sets it.
        value: of that key.
    """

    tokens: int
    key: str
    value: int


class LayerNames(NamedTuple):
    """The names of the linear layers that adapters target by default, each by the end of its name.

    Args:
        query, key, value: the projections of the attention; one name where they are fused.
        feed_forward: the last layer of each feed-forward block.
        linear: all linear layers but the head; empty if they are not known.
        lora: those that LoRA targets by default.
    """

    query: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    value: tuple[str, ...] = ()
    feed_forward: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()
    lora: tuple[str, ...] = ()


class FamilyFacts(Protocol):
    """What differs between families and needs no torch; each family is a module with these functions.

    ``config`` is the content of config.json, with or without the defaults of its class.
    """

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """Return whether a model belongs to this family."""
        ...

    def auto_class(self) -> str:
        """Return the name of the transformers class that loads a model of this family."""
        ...

    def generate_arguments(self, model_type: str | None) -> str:
        """Return further arguments of `generate` in the code of the model card, in which ``ids`` is the prompt."""
        ...

    def embeddings(self) -> frozenset[str]:
        """Return the embedding matrices, by the end of their name; they cannot take an adapter."""
        ...

    def no_adapter(self, config: Mapping[str, Any]) -> str | None:
        """Return why no adapter suits the model, and what to do; None if one does."""
        ...

    def layer_names(self, config: Mapping[str, Any], linear: tuple[str, ...]) -> LayerNames:
        """Return the names of the model's layers, as far as they are known, and which of them LoRA targets by default.

        Args:
            config: of the model.
            linear: all linear layers but the head; empty if they are not known.
        """
        ...

    def continues_prompt(self) -> bool:
        """Return whether the summary continues the prompt in one sequence, which a chat template can write.

        Then both share the model's positions, and padding needs no token, because it is never read.
        """
        ...

    def prompt_limit(self, config: Mapping[str, Any]) -> Limit | None:
        """Return the maximum tokens of a prompt; None if there is no limit or it is not known."""
        ...

    def summary_limit(self, config: Mapping[str, Any]) -> Limit | None:
        """Return the maximum tokens of a summary; None if there is no limit or it is not known."""
        ...

    def start(self, config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[str, int | None]:
        """Return the key of the token from which a summary starts, and its id; None if no file names it.

        Args:
            config: of the model.
            generation: generation_config.json.
        """
        ...

    def missing_start(self, config: Mapping[str, Any], complete: bool, where: Path) -> str | None:
        """Return the problem and advice if no file names the token from which a summary starts.

        None if the model's class may name one.

        Args:
            config: of the model.
            complete: whether the defaults of its class are filled in.
            where: its config.json.
        """
        ...


def kind(config: Mapping[str, Any]) -> str:
    """Return the model_type of a config; empty if it has none."""
    value = config.get("model_type")
    return value if isinstance(value, str) else ""


def is_id(value: object) -> TypeGuard[int]:
    """Return whether a value of a config can be a token's id, or a count."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def first_id(*configs: Mapping[str, Any], key: str) -> int | None:
    """Return the id under ``key`` in the first config that has one; None if no config does."""
    return next((config[key] for config in configs if is_id(config.get(key))), None)
