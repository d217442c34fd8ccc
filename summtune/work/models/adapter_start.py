"""What the weights of an adapter begin as, and how one is stored that begins as a part of its base.

PiSSA and OLoRA take a low-rank part B₀A₀ out of each adapted weight W of the base and train it: the model computes with
W − sB₀A₀ + sBA, where s is LoRA's scale. Stored is [B, −B₀] and [A; A₀], a LoRA of twice the rank that gives the same
on the untouched base, as peft's conversion does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from summtune.base.files import write_text
from summtune.recipe.adapters import takes_weights_of_the_base

_FIRST, _SECOND = "lora_A", "lora_B"


class AdapterStart:
    """The first values of an adapter's matrices, which its stored form needs.

    Args:
        values: by the names under which peft stores them.
    """

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        self._values = values

    @classmethod
    def of(cls, model: torch.nn.Module) -> AdapterStart | None:
        """Return the start of a model that is not trained yet; None unless it took weights of the base."""
        config = model.peft_config["default"] if isinstance(model, PeftModel) else None
        if not isinstance(config, LoraConfig) or not takes_weights_of_the_base(_text(config.init_lora_weights)):
            return None
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
        return cls({name: value.detach().cpu().clone() for name, value in state.items() if _is_matrix(name)})

    def stored(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights of the adapter as they are stored.

        Args:
            weights: of the trained adapter, by the names under which peft stores them.
        """
        return {name: self._joined(name, weight) if _is_matrix(name) else weight for name, weight in weights.items()}

    def distance(self, stored: torch.Tensor) -> torch.Tensor:
        """Return how far a stored second matrix is from where it began, by its largest element."""
        now, began = stored.chunk(2, dim=1)  # the second part with the opposite sign
        return (now + began).abs().max()

    def rewrite(self, folder: Path) -> None:
        """Turn an adapter as peft has written it into its stored form."""
        weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
        joined = {name: tensor.contiguous() for name, tensor in self.stored(load_file(weights)).items()}
        save_file(joined, weights, metadata={"format": "pt"})
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings["lora_alpha"] *= 2**0.5 if settings["use_rslora"] else 2  # so that the scale stays the same
        settings["r"] *= 2
        settings["init_lora_weights"] = True
        write_text(config, json.dumps(settings, indent=2, sort_keys=True) + "\n")

    def _joined(self, name: str, now: torch.Tensor) -> torch.Tensor:
        side = 0 if _FIRST in name.split(".") else 1
        whole = list(getattr(now, "ds_shape", now.shape))
        if whole != list(now.shape):  # ZeRO-3: this process holds a part, and only the shape is known
            whole[side] *= 2
            stub = torch.empty(0)
            stub.ds_shape = torch.Size(whole)  # type: ignore[attr-defined]  # as DeepSpeed does
            return stub
        # The trial of a save has one number in place of a matrix.
        began = self._values[name][tuple(slice(size) for size in now.shape)]
        return torch.cat([now.detach().cpu(), began.to(now.dtype) * (1 if side == 0 else -1)], dim=side)


def _is_matrix(name: str) -> bool:
    return bool({_FIRST, _SECOND} & set(name.split(".")))


def _text(init: object) -> str | None:
    return init if isinstance(init, str) else None
