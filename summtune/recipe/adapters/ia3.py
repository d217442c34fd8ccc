"""(IA)³: factors that scale the outputs or inputs of layers (Liu et al., 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from summtune.recipe.adapters.layers import FP32, LayerSize
from summtune.recipe.families.facts import LayerNames
from summtune.recipe.keys import TrainingSettings
from summtune.recipe.sections import Section


class Ia3(Section):
    """Factors, initially 1, that scale the outputs or inputs of layers.

    Args:
        targets: layers by the end of their name; empty if they are the default and the model is not downloaded yet.
        feedforward: the targets whose inputs are scaled instead of their outputs.
    """

    KEYS: ClassVar = ("ia3_target_modules", "ia3_feedforward_modules")
    """The recipe keys that it reads."""

    method: Literal["ia3"] = "ia3"
    targets: list[str]
    feedforward: list[str]

    @classmethod
    def of(cls, recipe: TrainingSettings, names: LayerNames | None) -> Ia3:
        """Return the adapter of a recipe.

        Default targets, as in the paper: the keys, the values, and the feed-forward layer after its activation. Layers
        that only ``ia3_feedforward_modules`` names are also scaled.
        """
        targets, feedforward = recipe.ia3_target_modules, recipe.ia3_feedforward_modules
        if targets is None:
            # A fused projection is the query, the key and the value.
            targets = list(dict.fromkeys((*names.key, *names.value, *names.feed_forward))) if names else []
        if feedforward is None:
            feedforward = [layer for layer in targets if names and layer in names.feed_forward]
        scaled = [*targets, *(layer for layer in feedforward if layer not in targets)]
        return cls(targets=scaled, feedforward=feedforward)

    def layers(self) -> dict[str, list[str]]:
        """Return the target layers, under the recipe key that names them."""
        inputs = {"ia3_feedforward_modules": self.feedforward} if self.feedforward else {}
        return inputs | {"ia3_target_modules": self.targets}

    def parameters(self, sizes: Mapping[str, LayerSize]) -> int | None:
        """Return the number of its weights: one per output or input of a layer.

        None if a target is not among the known ``sizes``.
        """
        if not self.targets or not set(self.targets) <= set(sizes):
            return None
        return sum(sizes[target].layers * self._width(target, sizes[target]) for target in self.targets)

    def kept_bytes(self, readers: Mapping[str, LayerSize], activation: int, mask: int) -> int:  # noqa: ARG002, as of all
        """Return the bytes per token that layers with one input keep for the backward pass because of the adapter.

        The gradient of a factor needs the values that it multiplies, which peft keeps in fp32.

        Args:
            readers: the layers, by the end of their name.
            activation: bytes of what a matrix product reads or writes.
            mask: bytes per element of a dropout mask over fp32.
        """
        return sum(FP32 * self._width(layer, size) for layer, size in readers.items() if layer in self.targets)

    @property
    def virtual_tokens(self) -> int:
        """Tokens that the adapter adds to each prompt."""
        return 0

    def _width(self, layer: str, size: LayerSize) -> int:
        return size.inputs if layer in self.feedforward else size.outputs
