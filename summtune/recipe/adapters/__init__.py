"""Adapters: which weights of a model are trained, and how its frozen weights are stored.

A recipe has flat keys with the names of Axolotl; the plan has these objects. Only `method_of` and `quantization`
decide what the keys mean, and only `summtune.work.models.adapters` translates an adapter for peft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from typing_extensions import assert_never

from summtune.recipe.adapters.ia3 import Ia3
from summtune.recipe.adapters.layers import LayerSize
from summtune.recipe.adapters.lora import Lora, takes_weights_of_the_base
from summtune.recipe.adapters.prompt_tuning import PromptTuning
from summtune.recipe.families.facts import LayerNames
from summtune.recipe.keys import AdapterName, LocalRecipe, PromptRecipe, TrainingSettings, TrainRecipe
from summtune.recipe.sections import Section

__all__ = [
    "METHODS", "Adapter", "Ia3", "LayerSize", "Lora", "PromptTuning", "Quantization", "adapter_of", "keys_of_adapters",
    "method_of", "quantization", "quantization_of", "takes_weights_of_the_base", "virtual_tokens", "with_layers",
]  # fmt: skip

Adapter: TypeAlias = Lora | Ia3 | PromptTuning
METHODS: tuple[type[Adapter], ...] = (Lora, Ia3, PromptTuning)


class Quantization(Section):
    """How the frozen weights under an adapter, or of a prompted model, are stored.

    Args:
        scheme: nf4 is four bits per weight with quantized scales (QLoRA; Dettmers et al., 2023).
    """

    scheme: Literal["nf4"] = "nf4"

    def weight_bytes(self, weights: int) -> int:
        """Return the bytes that this number of weights occupies: with a scale of one byte for each 64 of them."""
        return weights // 2 + weights // 64


def method_of(name: AdapterName | None) -> type[Adapter] | None:
    """Return the PEFT method of a value of the recipe's ``adapter``; None if all weights are trained."""
    match name:
        case None:
            return None
        case "lora" | "qlora":
            return Lora
        case "ia3":
            return Ia3
        case "prompt_tuning":
            return PromptTuning
        case _:
            assert_never(name)


def quantization(adapter: AdapterName | None, load_in_4bit: bool | None) -> Quantization | None:
    """Return how the keys ``adapter`` and ``load_in_4bit`` quantize the frozen weights; None if they do not."""
    return Quantization() if adapter == "qlora" or load_in_4bit else None


def adapter_of(recipe: TrainingSettings, names: LayerNames | None) -> Adapter | None:
    """Return the adapter that a recipe trains; None if it trains all weights.

    Args:
        recipe: of the training.
        names: of the model's layers; None if they are not known.
    """
    method = method_of(recipe.adapter)
    return None if method is None else method.of(recipe, names)


def quantization_of(recipe: TrainingSettings | PromptRecipe) -> Quantization | None:
    """Return how a recipe quantizes the frozen weights; None if it does not."""
    return quantization(recipe.adapter if isinstance(recipe, TrainingSettings) else None, recipe.load_in_4bit)


def virtual_tokens(recipe: LocalRecipe) -> int:
    """Return how many tokens the adapter of a recipe adds to each prompt."""
    adapter = adapter_of(recipe, None) if isinstance(recipe, TrainRecipe) else None
    return 0 if adapter is None else adapter.virtual_tokens


def with_layers(recipe: TrainRecipe, adapter: Adapter | None) -> TrainRecipe:
    """Return the recipe with the target layers of its adapter, as far as they are known."""
    known: dict[str, Any] = {key: layers for key, layers in (adapter.layers() if adapter else {}).items() if layers}
    if "lora_target_modules" in known:
        known["lora_target_linear"] = None  # a recipe has one of the two
    return recipe.model_copy(update=known)


def keys_of_adapters() -> Iterator[tuple[str, str, Callable[[TrainingSettings], bool]]]:
    """Yield each key of an adapter: the name of the adapter, the key, and a function whether a recipe ignores it."""
    for method in METHODS:
        name: str = method.model_fields["method"].default

        def unread(recipe: TrainingSettings, method: type[Adapter] = method) -> bool:
            return method_of(recipe.adapter) is not method

        for key in method.KEYS:
            yield name, key, unread
