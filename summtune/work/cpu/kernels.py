"""Differentiable operations that take most of T5's training time on a CPU, in few passes over memory.

This module differentiates them by hand; the passes over the elements are compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from summtune.work.cpu import compiled_passes
from summtune.work.cpu.drop import draw


def _applied(function: type[torch.autograd.Function], *arguments: Any) -> torch.Tensor:
    apply: Any = function.apply  # torch does not annotate it
    result: torch.Tensor = apply(*arguments)
    return result


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, probability: float, dtype: torch.dtype) -> torch.Tensor:
        ctx.drop, ctx.dtype = draw(probability), values.dtype
        if ctx.drop is None:
            return values.to(dtype, copy=True)
        return compiled_passes.dropout(values, ctx.drop, dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        if ctx.drop is None:
            return gradient.to(ctx.dtype), None, None
        return compiled_passes.dropout(gradient, ctx.drop, ctx.dtype), None, None


def dropout(values: torch.Tensor, probability: float, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return ``values`` with elements set to zero at random, the others scaled up (Srivastava et al., 2014).

    Args:
        values: any shape.
        probability: of an element to be dropped.
        dtype: of the result; that of ``values`` unless given.
    """
    return _applied(_Dropout, values, probability, dtype or values.dtype)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> torch.Tensor:
        result, inverse = compiled_passes.rms_norm(values, weight, epsilon, dtype)
        ctx.save_for_backward(values, weight, inverse)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        values, weight, inverse = ctx.saved_tensors
        found = compiled_passes.rms_norm_gradient(gradient, values, weight, inverse)
        return *found, None, None


def rms_norm(values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
    """Return ``values`` over their root mean square, times ``weight`` (Zhang and Sennrich, 2019), computed in fp32.

    Args:
        values: (…, features).
        weight: (features,).
        epsilon: added to the mean square.
        dtype: of the result, fp32 or that of autocast.
    """
    return _applied(_RmsNorm, values, weight, epsilon, dtype)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None,
        mask: torch.Tensor | None,
        probability: float,
    ) -> torch.Tensor:
        scores = torch.matmul(query, key.transpose(-1, -2))
        ctx.drop = draw(probability)
        shares, used = compiled_passes.softmax(scores, bias, mask, ctx.drop)
        ctx.save_for_backward(query, key, value, shares)
        ctx.bias_dtype = bias.dtype if bias is not None else None
        return torch.matmul(used, value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, shares = ctx.saved_tensors
        gradient = gradient.to(value.dtype)
        of_shares = torch.matmul(gradient, value.transpose(-1, -2))
        biased = ctx.bias_dtype is not None and ctx.needs_input_grad[3]
        of_scores, used, of_bias = compiled_passes.softmax_gradient(of_shares, shares, ctx.drop, biased)
        return (
            torch.matmul(of_scores, key),
            torch.matmul(of_scores.transpose(-1, -2), query),
            torch.matmul(used.transpose(-1, -2), gradient),
            None if of_bias is None else of_bias.to(ctx.bias_dtype),
            None,
            None,
        )


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    mask: torch.Tensor | None,
    probability: float,
) -> torch.Tensor:
    """Return T5's attention, whose scores are not scaled (Raffel et al., 2020), softmax in fp32.

    Args:
        query: (batch, heads, queries, features).
        key: (batch, heads, keys, features).
        value: as ``key``.
        bias: of the relative positions, (1, heads, queries, keys), with a gradient; None for none.
        mask: added to the scores, (batch or 1, 1, queries or 1, keys); None for none.
        probability: of a share to be dropped.

    Returns:
        (batch, heads, queries, features).
    """
    return _applied(_Attention, query, key, value, bias, mask, probability)


class _GatedGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, linear: torch.Tensor, probability: float) -> torch.Tensor:
        ctx.save_for_backward(gate, linear)
        ctx.drop = draw(probability)
        return compiled_passes.gated_gelu(gate, linear, ctx.drop)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        gate, linear = ctx.saved_tensors
        return *compiled_passes.gated_gelu_gradient(gradient, gate, linear, ctx.drop), None


def gated_gelu(gate: torch.Tensor, linear: torch.Tensor, probability: float) -> torch.Tensor:
    """Return GELU of ``gate``, in its form with tanh (Hendrycks and Gimpel, 2016), times ``linear``, with dropout.

    Args:
        gate: any shape.
        linear: of the same shape and type.
        probability: of an element to be dropped.
    """
    return _applied(_GatedGelu, gate, linear, probability)


class _Diagonals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, diagonals: torch.Tensor, queries: int, keys: int) -> torch.Tensor:
        ctx.shape = queries, keys
        return diagonals.unfold(1, keys, 1).flip(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        queries, keys = ctx.shape
        width = queries + keys - 1
        # Padded by `queries` and reshaped into rows that are one element shorter, each row is shifted to the right by
        # one from the previous one: the elements of a diagonal are in one column.
        padded = functional.pad(gradient.flip(1), (0, queries)).flatten(1)
        return padded[:, : queries * width].view(-1, queries, width).sum(1), None, None


def from_diagonals(diagonals: torch.Tensor, queries: int, keys: int) -> torch.Tensor:
    """Return matrices that are constant on their diagonals (Toeplitz matrices).

    Args:
        diagonals: (heads, queries + keys - 1), from the lower left corner to the upper right one.
        queries: rows.
        keys: columns.

    Returns:
        (heads, queries, keys).
    """
    return _applied(_Diagonals, diagonals, queries, keys)
