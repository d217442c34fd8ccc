"""Computes the fp32 products of linear layers with oneDNN in training, where MKL would not use the whole processor.

torch hands products in fp32 to MKL. On processors of AMD it uses vectors of 256 bits, even where there are 512. oneDNN
uses those: a core reaches 250 GFLOP/s instead of 110. Products in bf16 are always oneDNN's.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from summtune.work.cpu.packed_weights import has_onednn

_PROCESSOR = Path("/proc/cpuinfo")


def multiply_with_onednn(model: nn.Module) -> None:
    """Let the linear layers of a model compute with oneDNN, forward and backward, where MKL is slower.

    Args:
        model: to be trained in fp32; layers of other types, and under autocast, compute as before.
    """
    if not _mkl_is_slow():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            layer: Any = module
            layer.forward = MethodType(_linear, layer)


@functools.lru_cache(1)
def _mkl_is_slow() -> bool:
    try:
        about = _PROCESSOR.read_text(encoding="utf-8")
    except OSError:
        return False
    return "AuthenticAMD" in about and " avx512f " in about and has_onednn()


def _linear(self: Any, values: torch.Tensor) -> torch.Tensor:
    fp32 = values.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    # A micro batch of fillers has no target, and so no row for the output layer.
    if not fp32 or not values.numel() or self.weight.device.type != "cpu":
        return functional.linear(values, self.weight, self.bias)
    apply: Any = _Linear.apply
    # In two dimensions oneDNN's result is no view, which callers could not change in place.
    result: torch.Tensor = apply(values.reshape(-1, values.shape[-1]), self.weight, self.bias)
    return result.reshape(*values.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # A frozen weight needs no inputs for its gradient: they are not kept.
        ctx.save_for_backward(values if ctx.needs_input_grad[1] else None, weight)
        return _product(values, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        of_values, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_values else None,
            _product(gradient.t(), values.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _product(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``values`` (rows, inputs) times the transposed ``weight`` (outputs, inputs), plus ``bias`` (outputs,)."""
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
    return result
