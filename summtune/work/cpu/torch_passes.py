"""The passes of `summtune.work.cpu.kernels` in torch's own operations, for machines without a compiler.

torch's dropout takes 6 ns per element for a random number, and adding tensors of two types is ten times as slow as of
one. Both are avoided here: 16 random bits per element come from a generator that fills whole arrays, masks are applied
to the bits of the numbers, and each operation uses a single type.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from summtune.work.cpu.passes import MASKED, Drop, lengths_of

_ROWS = 64  # of logits that are processed together: 8 MB with 32,128 columns in fp32
_ROWS_READ = 8  # whose keys and values are read together for a new token, up to the longest row
_BITS = 15  # of the random numbers that decide on one element
_OF_LIKE_SIZE = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


def keep_mask(size: int, drop: Drop) -> tuple[torch.Tensor, float]:
    """Return the mask of kept elements and the factor for them.

    Args:
        size: number of elements.
        drop: which are dropped; the probability is rounded to 1 / 2**15.

    Returns:
        int16 (size,) with all bits set for kept elements and none for dropped ones, and the factor for kept elements:
        one over the rounded probability of being kept.
    """
    words = np.random.SFC64(drop.seed).random_raw(-(-size // 4))
    bits = torch.from_numpy(words.view(np.int16))[:size]
    dropped, scale = drop.rounded(_BITS)
    # 15 bits minus the bound: negative where dropped. The sign, extended to all bits, is the mask of dropped elements.
    bits.bitwise_and_(2**_BITS - 1).sub_(dropped).bitwise_right_shift_(_BITS).bitwise_not_()
    return bits, scale


def _masked_(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Set elements that ``kept`` (of `keep_mask`) drops to zero, in place; return ``values``."""
    like = _OF_LIKE_SIZE[values.dtype]
    values.view(like).bitwise_and_(kept.view(values.shape).to(like))
    return values


def dropout(values: torch.Tensor, drop: Drop, dtype: torch.dtype) -> torch.Tensor:
    """As `Passes.dropout`."""
    kept, scale = keep_mask(values.numel(), drop)
    values = values.contiguous()
    scaled = values * scale if values.dtype == dtype else values.to(dtype).mul_(scale)
    return _masked_(scaled, kept)


def rms_norm(
    values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.rms_norm`."""
    wide = values.float()
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = norm.square_().div_(wide.shape[-1]).add_(epsilon).rsqrt_()
    return (wide * inverse).mul_(weight.float()).to(dtype), inverse


def rms_norm_gradient(
    gradient: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.rms_norm_gradient`.

    d/dx of x / rms(x) * w is (w * g - x^ * mean(w * g * x^)) / rms(x), where x^ = x / rms(x).
    """
    normed = values.float() * inverse
    wide = gradient.float()
    products = wide * normed
    of_weight = products.view(-1, products.shape[-1]).sum(0)
    scale = weight.float()
    mean = (products @ scale).div_(products.shape[-1]).unsqueeze(-1)
    result = torch.addcmul(wide * scale, normed, mean, value=-1).mul_(inverse)
    return result.to(values.dtype), of_weight.to(weight.dtype)


def softmax(
    scores: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.softmax`."""
    wide = scores.float()
    for added in (bias, mask):
        if added is not None:
            wide = wide + added.float()
    shares = torch.softmax(wide, -1).to(scores.dtype)
    if drop is None:
        return shares, shares
    kept, scale = keep_mask(shares.numel(), drop)
    used = _masked_(shares * scale, kept)
    like = _OF_LIKE_SIZE[shares.dtype]
    sign = kept.view(shares.shape).to(like).bitwise_not_().bitwise_and_(torch.iinfo(like).min)
    return shares.view(like).bitwise_or_(sign).view(shares.dtype), used


def softmax_gradient(
    gradient: torch.Tensor, shares: torch.Tensor, drop: Drop | None, biased: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """As `Passes.softmax_gradient`."""
    scale = drop.rounded(_BITS)[1] if drop else 1.0
    dropped = shares.signbit()
    used = (shares * scale).masked_fill_(dropped, 0)
    wide = shares.float().abs_()
    of_shares = (gradient.float() * scale).masked_fill_(dropped, 0)
    of_scores = torch._softmax_backward_data(of_shares, wide, -1, torch.float32)
    of_bias = of_scores.sum(0, keepdim=True) if biased else None
    return of_scores.to(shares.dtype), used, of_bias


def decode_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None
) -> torch.Tensor:
    """As `Passes.decode_attention`."""
    lengths = [key.shape[2]] if mask is None else lengths_of(mask[:, 0, 0] > MASKED)
    lengths *= len(key) // len(lengths)
    parts = []
    for start in range(0, len(query), _ROWS_READ):
        rows = slice(start, start + _ROWS_READ)
        end = max(lengths[rows])
        # What is read takes the time: nothing of padding that all of these rows have.
        scores = torch.matmul(query[rows], key[rows, :, :end].transpose(-1, -2))
        of_rows = None if mask is None else mask[rows if len(mask) > 1 else slice(None), ..., :end]
        _, shares = softmax(scores, None if bias is None else bias[..., :end], of_rows, None)
        parts.append(torch.matmul(shares, value[rows, :, :end]))
    return torch.cat(parts)


def gated_gelu(gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None) -> torch.Tensor:
    """As `Passes.gated_gelu`."""
    result = functional.gelu(gate, approximate="tanh") * linear
    return result if drop is None else dropout(result, drop, result.dtype)


def gated_gelu_gradient(
    gradient: torch.Tensor, gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.gated_gelu_gradient`."""
    if drop is not None:
        gradient = dropout(gradient, drop, gradient.dtype)
    of_gate = torch.ops.aten.gelu_backward(gradient * linear, gate, approximate="tanh")
    return of_gate, gradient * functional.gelu(gate, approximate="tanh")


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, differentiate: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `Passes.cross_entropy`."""
    total = logits.new_zeros((), dtype=torch.float32)
    gradient = torch.empty_like(logits) if differentiate else None
    for start in range(0, len(logits), _ROWS):
        part, wanted = logits[start : start + _ROWS].float(), targets[start : start + _ROWS, None]
        norm = part.logsumexp(-1, keepdim=True)
        total += (norm - part.gather(-1, wanted)).sum()
        if gradient is not None:
            share = part.sub(norm).exp_()
            share.scatter_add_(-1, wanted, torch.full_like(norm, -1.0))
            gradient[start : start + _ROWS] = share
    return total, gradient
