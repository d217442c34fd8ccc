"""Prompt tuning: trained embeddings in front of every prompt (Lester et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from summtune.recipe.adapters.layers import HEAD, LayerSize
from summtune.recipe.families.facts import LayerNames
from summtune.recipe.keys import TrainingSettings
from summtune.recipe.sections import Section


class PromptTuning(Section):
    """Trained embeddings of virtual tokens, which precede every prompt.

    Args:
        tokens: number of virtual tokens.
        text: whose tokens they begin as; None for tokens drawn from the vocabulary.
    """

    KEYS: ClassVar = ("num_virtual_tokens", "prompt_tuning_init_text")
    """The recipe keys that it reads."""

    method: Literal["prompt_tuning"] = "prompt_tuning"
    tokens: int
    text: str | None

    @classmethod
    def of(cls, recipe: TrainingSettings, names: LayerNames | None) -> PromptTuning:  # noqa: ARG003, as of all methods
        """Return the adapter of a recipe; it does not depend on the layers of the model."""
        return cls(tokens=recipe.num_virtual_tokens, text=recipe.prompt_tuning_init_text)

    def layers(self) -> dict[str, list[str]]:
        """Return no layers: it changes none."""
        return {}

    def parameters(self, sizes: Mapping[str, LayerSize]) -> int | None:
        """Return the number of its weights, an embedding per virtual token; None if their width is not known."""
        return self.tokens * sizes[HEAD].inputs if HEAD in sizes else None

    def kept_bytes(self, readers: Mapping[str, LayerSize], activation: int, mask: int) -> int:  # noqa: ARG002, as of all
        """Return 0: no layer keeps more of a token."""
        return 0

    @property
    def virtual_tokens(self) -> int:
        """Tokens that the adapter adds to each prompt."""
        return self.tokens
