"""LoRA: low-rank matrices added to linear layers (Hu et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from summtune.recipe.adapters.layers import FP32, LayerSize
from summtune.recipe.families.facts import LayerNames
from summtune.recipe.keys import TrainingSettings
from summtune.recipe.sections import Section


class Lora(Section):
    """Low-rank matrices added to linear layers.

    Args:
        r: rank.
        alpha: updates are multiplied by alpha / r.
        dropout: before the adapter.
        targets: layers by the end of their name; empty if they are the default and the model is not downloaded yet.
        dora: learn magnitudes separately (Liu et al., 2024).
        rslora: updates are multiplied by alpha / sqrt(r).
        init: first values of the matrices, by peft's name; None for peft's default, an update of zero.
        lr_ratio: the second matrix learns at so many times the learning rate (LoRA+; Hayou et al., 2024); None for 1.
    """

    KEYS: ClassVar = (
        "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_linear", "peft_use_dora",
        "peft_use_rslora", "peft_init_lora_weights", "loraplus_lr_ratio",
    )  # fmt: skip
    """The recipe keys that it reads."""

    method: Literal["lora"] = "lora"
    r: int
    alpha: int
    dropout: float
    targets: list[str]
    dora: bool
    rslora: bool
    init: str | None = None
    lr_ratio: float | None = None

    @classmethod
    def of(cls, recipe: TrainingSettings, names: LayerNames | None) -> Lora:
        """Return the adapter of a recipe, on the layers that it names, or else those of the model's family."""
        targets = recipe.lora_target_modules
        if targets is None:
            targets = [] if names is None else list(_targets(recipe.lora_target_linear, names))
        return cls(
            r=recipe.lora_r,
            alpha=recipe.lora_alpha,
            dropout=recipe.lora_dropout,
            targets=targets,
            dora=recipe.peft_use_dora,
            rslora=recipe.peft_use_rslora,
            init=recipe.peft_init_lora_weights,
            lr_ratio=recipe.loraplus_lr_ratio,
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

    def kept_bytes(self, readers: Mapping[str, LayerSize], activation: int, mask: int) -> int:
        """Return the bytes per token that layers with one input keep for the backward pass because of the adapter.

        peft drops elements of the input of every adapted layer again, in fp32, which keeps a mask and what is left of
        the input. Without dropout the layers share the input, unless each converts it to bf16. All keep what the first
        matrix writes.

        Args:
            readers: the layers, by the end of their name.
            activation: bytes of what a matrix product reads or writes.
            mask: bytes per element of a dropout mask over fp32.
        """
        adapted = [size for layer, size in readers.items() if layer in self.targets]
        if not adapted:
            return 0
        shared = not self.dropout and activation == FP32
        inputs = adapted[0].inputs if shared else sum(size.inputs for size in adapted)
        return (activation + (mask if self.dropout else 0)) * inputs + activation * self.r * len(adapted)

    @property
    def virtual_tokens(self) -> int:
        """Tokens that the adapter adds to each prompt."""
        return 0


def takes_weights_of_the_base(init: str | None) -> bool:
    """Return whether the matrices begin as a part of the base's weights, which is taken out of them (PiSSA, OLoRA).

    Args:
        init: value of ``peft_init_lora_weights``.
    """
    return init is not None and init.startswith(("pissa", "olora"))


def _targets(all_linear: bool | None, names: LayerNames) -> tuple[str, ...]:
    if all_linear is None:
        return names.lora
    return names.linear if all_linear else tuple(dict.fromkeys(names.query + names.value))
