"""Adapters: which weights of a model are trained, and how its frozen weights are stored.

A recipe has flat keys with the names of Axolotl; the plan has these objects. Only `meaning` decides what a value of
``adapter`` means, and only `summtune.work.models.adapters` translates it for peft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from typing_extensions import assert_never

from summtune.recipe.families.facts import LayerNames
from summtune.recipe.keys import AdapterName, TrainingSettings, TrainRecipe
from summtune.recipe.sections import Section


class LayerSize(NamedTuple):
    """The linear layers with one name: their number and their size.

    Args:
        layers: number of layers.
        inputs, outputs: features of each layer.
    """

    layers: int
    inputs: int
    outputs: int


class Lora(Section):
    """Low-rank matrices added to linear layers (LoRA; Hu et al., 2021).

    Args:
        r: rank.
        alpha: updates are multiplied by alpha / r.
        dropout: before the adapter.
        targets: layers by the end of their name; empty if they are the default and the model is not downloaded yet.
        dora: learn magnitudes separately (Liu et al., 2024).
        rslora: updates are multiplied by alpha / sqrt(r).
    """

    KEYS: ClassVar = (
        "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "peft_use_dora", "peft_use_rslora",
    )  # fmt: skip
    """The recipe keys that it reads."""

    method: Literal["lora"] = "lora"
    r: int
    alpha: int
    dropout: float
    targets: list[str]
    dora: bool
    rslora: bool

    @classmethod
    def of(cls, recipe: TrainingSettings, names: LayerNames | None) -> Lora:
        """Return the adapter of a recipe; default targets: the queries and values of the model's attention."""
        targets = recipe.lora_target_modules
        if targets is None:
            targets = [*names.query, *names.value] if names else []
        return cls(
            r=recipe.lora_r,
            alpha=recipe.lora_alpha,
            dropout=recipe.lora_dropout,
            targets=targets,
            dora=recipe.peft_use_dora,
            rslora=recipe.peft_use_rslora,
        )

    def layers(self) -> dict[str, list[str]]:
        """Return the target layers, under the recipe key that names them."""
        return {"lora_target_modules": self.targets}

    def parameters(self, sizes: Mapping[str, LayerSize]) -> int | None:
        """Return the number of its weights: rank × (inputs + outputs) per layer, with DoRA one more per output.

        None if a target is not among the known ``sizes``.
        """
        if not self.targets or not set(self.targets) <= set(sizes):
            return None
        layers = [sizes[target] for target in self.targets]
        return sum(one.layers * (self.r * (one.inputs + one.outputs) + one.outputs * self.dora) for one in layers)

    def kept_bytes(self, layer: str, size: LayerSize) -> int:
        """Return the bytes per token that a layer keeps for the backward pass because of the adapter.

        peft applies a separate dropout to the fp32 input of every adapted layer, which keeps the input and the mask.
        """
        return 8 * size.inputs if self.dropout and layer in self.targets else 0


class Ia3(Section):
    """Factors, initially 1, that scale the outputs or inputs of layers ((IA)³; Liu et al., 2022).

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
            targets = [*names.key, *names.value, *names.feed_forward] if names else []
        if feedforward is None:
            feedforward = [layer for layer in targets if names and layer in names.feed_forward]
        scaled = [*targets, *(layer for layer in feedforward if layer not in targets)]
        return cls(targets=scaled, feedforward=feedforward)

    def layers(self) -> dict[str, list[str]]:
        """Return the target layers, under the recipe keys that name them."""
        inputs = {"ia3_feedforward_modules": self.feedforward} if self.feedforward else {}
        return inputs | {"ia3_target_modules": self.targets}

    def parameters(self, sizes: Mapping[str, LayerSize]) -> int | None:
        """Return the number of its weights: one per output or input of a layer.

        None if a target is not among the known ``sizes``.
        """
        if not self.targets or not set(self.targets) <= set(sizes):
            return None
        return sum(sizes[target].layers * self._width(target, sizes[target]) for target in self.targets)

    def kept_bytes(self, layer: str, size: LayerSize) -> int:
        """Return the bytes per token that a layer keeps for the backward pass because of the adapter.

        The gradient of a factor needs the values that it multiplies, which peft keeps in fp32.
        """
        return 4 * self._width(layer, size) if layer in self.targets else 0

    def _width(self, layer: str, size: LayerSize) -> int:
        return size.inputs if layer in self.feedforward else size.outputs


Adapter: TypeAlias = Lora | Ia3
METHODS: tuple[type[Adapter], ...] = (Lora, Ia3)


class Quantization(Section):
    """How the frozen weights under an adapter are stored.

    Args:
        scheme: nf4 is four bits per weight with quantized scales (QLoRA; Dettmers et al., 2023).
    """

    scheme: Literal["nf4"] = "nf4"

    def weight_bytes(self, weights: int) -> int:
        """Return the bytes that this number of weights occupies: with a scale of one byte for each 64 of them."""
        return weights // 2 + weights // 64


class Meaning(NamedTuple):
    """What a value of ``adapter`` means; both are None if all weights are trained.

    Args:
        method: PEFT method.
        quantization: of the frozen weights.
    """

    method: type[Adapter] | None
    quantization: Quantization | None


def meaning(name: AdapterName | None) -> Meaning:
    """Return what a value of the recipe's ``adapter`` means."""
    match name:
        case None:
            return Meaning(None, None)
        case "lora":
            return Meaning(Lora, None)
        case "qlora":
            return Meaning(Lora, Quantization())
        case "ia3":
            return Meaning(Ia3, None)
        case _:
            assert_never(name)


def adapter_of(recipe: TrainingSettings, names: LayerNames | None) -> Adapter | None:
    """Return the adapter that a recipe trains; None if it trains all weights.

    Args:
        recipe: of the training.
        names: of the model's layers; None if they are not known.
    """
    method = meaning(recipe.adapter).method
    return None if method is None else method.of(recipe, names)


def quantization_of(recipe: TrainingSettings) -> Quantization | None:
    """Return how a recipe quantizes the frozen weights; None if it does not."""
    return meaning(recipe.adapter).quantization


def with_layers(recipe: TrainRecipe, adapter: Adapter | None) -> TrainRecipe:
    """Return the recipe with the target layers of its adapter, as far as they are known."""
    known = {key: layers for key, layers in (adapter.layers() if adapter else {}).items() if layers}
    return recipe.model_copy(update=known)


def keys_of_adapters() -> Iterator[tuple[str, str, Callable[[TrainingSettings], bool]]]:
    """Yield each key of an adapter: the name of the adapter, the key, and a function whether a recipe ignores it."""
    for method in METHODS:
        name: str = method.model_fields["method"].default

        def unread(recipe: TrainingSettings, method: type[Adapter] = method) -> bool:
            return meaning(recipe.adapter).method is not method

        for key in method.KEYS:
            yield name, key, unread
