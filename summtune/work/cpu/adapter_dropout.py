"""Lets the dropout before LoRA's matrices use a compiled pass.

With LoRA on all linear layers, torch's random numbers for it take an eighth of a training step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from summtune.work.cpu import compiled_passes, kernels, library


def quicken_dropout(model: nn.Module) -> None:
    """Replace the dropout of a model's LoRA layers, where passes can be compiled.

    Args:
        model: with an adapter of peft.
    """
    if library.why_not() is not None:
        return
    for module in model.modules():
        layers: Any = getattr(module, "lora_dropout", None)  # by the name of the adapter
        for name, layer in layers.items() if isinstance(layers, nn.ModuleDict) else ():
            if type(layer) is nn.Dropout:
                layers[name] = _Dropout(layer.p).train(layer.training)


class _Dropout(nn.Dropout):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not (self.training and self.p and compiled_passes.can_take(values.dtype) and values.device.type == "cpu"):
            return super().forward(values)
        # A matrix product reads the result: under autocast it is cast to the product's type here.
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else values.dtype
        return kernels.dropout(values, self.p, dtype if compiled_passes.can_take(dtype) else values.dtype)
