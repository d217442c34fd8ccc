"""Differentiable operations that a CPU spends most of T5's training time in, in fewer and faster passes.

torch draws a random number in 6 ns for each element that dropout looks at, and adds tensors of two types ten times as
slowly as those of one. Both are avoided here: 16 random bits an element from a generator that fills whole arrays, masks
that are applied to the bits of the numbers, and one type in each operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

_ROWS = 64  # of logits that are looked at together: 8 MB of 32,128 in fp32
_BITS = 15  # of the random numbers that decide on one element
_OF_LIKE_SIZE = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


def keep_mask(size: int, probability: float) -> tuple[torch.Tensor, float]:
    """Draw which elements dropout keeps, from torch's generator: a seed of it decides.

    Args:
        size: elements.
        probability: of an element to be dropped, below 1; rounded to 1 / 2**15.

    Returns:
        int16 (size,) with all bits set where an element is kept and none where it is dropped, and what the kept
        elements are multiplied by: one over the probability to be kept, as rounded.
    """
    seed = int(torch.randint(2**62, ()))
    words = np.random.SFC64(seed).random_raw(-(-size // 4))
    bits = torch.from_numpy(words.view(np.int16))[:size]
    dropped = min(round(probability * 2**_BITS), 2**_BITS - 1)
    # 15 bits, less the bound: negative where dropped. The sign, spread over all bits, is the mask of the dropped.
    bits.bitwise_and_(2**_BITS - 1).sub_(dropped).bitwise_right_shift_(_BITS).bitwise_not_()
    return bits, 2**_BITS / (2**_BITS - dropped)


def masked_(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Set to zero, in place, what ``kept`` (of `keep_mask`) does not keep; return ``values``."""
    like = _OF_LIKE_SIZE[values.dtype]
    values.view(like).bitwise_and_(kept.view(values.shape).to(like))
    return values


def _applied(function: type[torch.autograd.Function], *arguments: Any) -> torch.Tensor:
    apply: Any = function.apply  # torch leaves it without types
    result: torch.Tensor = apply(*arguments)
    return result


def _scaled(values: torch.Tensor, dtype: torch.dtype, scale: float) -> torch.Tensor:
    """Return a contiguous copy in the wanted type, times ``scale``."""
    values = values.contiguous()
    return values * scale if values.dtype == dtype else values.to(dtype).mul_(scale)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, probability: float, dtype: torch.dtype) -> torch.Tensor:
        kept, ctx.scale = keep_mask(values.numel(), probability)
        ctx.save_for_backward(kept)
        ctx.dtype = values.dtype
        return masked_(_scaled(values, dtype, ctx.scale), kept)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return masked_(_scaled(gradient, ctx.dtype, ctx.scale), kept), None, None


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
        wide = values.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = norm.square_().div_(wide.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(values, weight, inverse)
        normed: torch.Tensor = wide * inverse
        return normed.mul_(weight.float()).to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        values, weight, inverse = ctx.saved_tensors
        normed = values.float() * inverse
        wide = gradient.float()
        products = wide * normed
        weight_gradient = products.view(-1, products.shape[-1]).sum(0)
        # d/dx of x/rms(x)·w: (w·g − x̂·mean(w·g·x̂)) / rms(x)
        scale = weight.float()
        mean = (products @ scale).div_(products.shape[-1]).unsqueeze(-1)
        result = torch.addcmul(wide * scale, normed, mean, value=-1).mul_(inverse)
        return result.to(values.dtype), weight_gradient.to(weight.dtype), None, None


def rms_norm(values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
    """Return ``values`` over their root mean square, times ``weight`` (Zhang and Sennrich, 2019), computed in fp32.

    Args:
        values: (…, features).
        weight: (features,).
        epsilon: added to the mean square.
        dtype: of the result.
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
        scores = torch.matmul(query, key.transpose(-1, -2)).float()
        if bias is not None:
            scores.add_(bias.float())
        if mask is not None:
            scores.add_(mask.float())
        shares = torch.softmax(scores, -1, out=scores).to(query.dtype)
        ctx.scale = 1.0
        kept = None
        used = shares
        if probability:
            kept, ctx.scale = keep_mask(shares.numel(), probability)
            used = masked_(shares.clone(), kept)
        ctx.save_for_backward(query, key, value, shares, kept)
        ctx.bias_dtype = bias.dtype if bias is not None else None
        return torch.matmul(used, value).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, shares, kept = ctx.saved_tensors
        gradient = gradient.to(value.dtype) * ctx.scale
        used = masked_(shares.clone(), kept) if kept is not None else shares
        value_gradient = torch.matmul(used.transpose(-1, -2), gradient)
        of_shares = torch.matmul(gradient, value.transpose(-1, -2))
        if kept is not None:
            masked_(of_shares, kept)
        wide = shares.float()
        of_scores = torch._softmax_backward_data(of_shares.float(), wide, -1, torch.float32)
        bias_gradient = None
        if ctx.bias_dtype is not None and ctx.needs_input_grad[3]:
            bias_gradient = of_scores.sum(0, keepdim=True).to(ctx.bias_dtype)
        narrow = of_scores.to(query.dtype)
        return (
            torch.matmul(narrow, key),
            torch.matmul(narrow.transpose(-1, -2), query),
            value_gradient,
            bias_gradient,
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
        mask: added to the scores, broadcast to them; None for none.
        probability: of a share to be dropped.

    Returns:
        (batch, heads, queries, features).
    """
    return _applied(_Attention, query, key, value, bias, mask, probability)


class _Diagonals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, diagonals: torch.Tensor, queries: int, keys: int) -> torch.Tensor:
        ctx.shape = queries, keys
        return diagonals.unfold(1, keys, 1).flip(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        queries, keys = ctx.shape
        width = queries + keys - 1
        # Padded by `queries` and cut anew into rows that are one shorter, each row stands one to the right of the one
        # before: what belongs to one diagonal stands in one column.
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


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = logits.new_zeros((), dtype=torch.float32)
        ctx.needed = ctx.needs_input_grad[0]
        gradient = torch.empty_like(logits) if ctx.needed else None
        for start in range(0, len(logits), _ROWS):
            part, wanted = logits[start : start + _ROWS].float(), targets[start : start + _ROWS, None]
            norm = part.logsumexp(-1, keepdim=True)
            total += (norm - part.gather(-1, wanted)).sum()
            if gradient is not None:
                share = part.sub_(norm).exp_()
                share.scatter_add_(-1, wanted, torch.full_like(norm, -1.0))
                gradient[start : start + _ROWS] = share
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None


def summed_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy summed over target tokens, a scalar in fp32; the gradient is computed along with it.

    So fp32 copies of the logits are a few rows at a time (Hsu et al., Liger Kernel, 2024).

    Args:
        logits: (tokens, vocabulary).
        targets: (tokens,), none of them to be ignored.
    """
    return _applied(_SummedCrossEntropy, logits, targets)
