"""Forward and backward passes over the elements of tensors (compiled_passes.cpp): one instead of many.

A backward pass is named after its forward pass. `summtune.work.cpu.kernels` makes them differentiable.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch

from summtune.work.cpu import library
from summtune.work.cpu.drop import Drop

_BITS = 24  # kBits
_ROWS = 64  # rows that are summed together, for any number of threads
_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16"}


def can_take(dtype: torch.dtype) -> bool:
    """Return whether the passes take numbers of this type."""
    return dtype in _NAMES


def _call(name: str, types: tuple[torch.dtype, ...], *arguments: torch.Tensor | float | None) -> None:
    function = getattr(library.loaded(), "_".join([name, *(_NAMES[dtype] for dtype in types)]))
    function.restype = None
    function(*(_as_c(one) for one in arguments))


def _as_c(argument: torch.Tensor | float | None) -> Any:
    if argument is None:
        return None
    if isinstance(argument, torch.Tensor):
        assert argument.is_contiguous()
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_float(argument)


def _fp32(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32)


def _check_alike(first: torch.Tensor, *others: torch.Tensor) -> None:
    assert all(one.shape == first.shape and one.dtype == first.dtype for one in others)


def _dropped(drop: Drop | None) -> tuple[int, int, float]:
    return (0, 0, 1.0) if drop is None else (drop.seed, *drop.rounded(_BITS))


def dropout(values: torch.Tensor, drop: Drop, dtype: torch.dtype) -> torch.Tensor:
    """Return ``values`` as ``dtype``, some elements zero and the others scaled up; also its own gradient."""
    values = values.contiguous()
    result = torch.empty_like(values, dtype=dtype)
    _call("dropout", (values.dtype, dtype), values, result, values.numel(), *_dropped(drop))
    return result


def rms_norm(
    values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the norm and the inverse root mean squares, (…, 1) in fp32.

    Args:
        values: (…, features).
        weight: (features,).
        epsilon: added to the mean square.
        dtype: of the norm.
    """
    values = values.contiguous()
    features = values.shape[-1]
    rows = values.numel() // features
    assert weight.shape == (features,)
    result, inverse = torch.empty_like(values, dtype=dtype), _fp32(*values.shape[:-1], 1)
    shape = rows, features, float(epsilon)
    _call("rms_norm", (values.dtype, dtype), values, weight.float().contiguous(), result, inverse, *shape)
    return result, inverse


def rms_norm_gradient(
    gradient: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the values and of the weight."""
    values, gradient = values.contiguous(), gradient.contiguous()
    rows, features = inverse.numel(), values.shape[-1]
    assert gradient.shape == values.shape
    result, of_weight = torch.empty_like(values), _fp32(-(-rows // _ROWS), features)
    wide = weight.float().contiguous()
    places = values, gradient, wide, inverse, result, of_weight
    _call("rms_norm_gradient", (values.dtype, gradient.dtype), *places, rows, features, _ROWS)
    return result, of_weight.sum(0).to(weight.dtype)


def softmax(
    scores: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shares, negative where they are dropped, and the remaining ones, scaled up.

    Args:
        scores: (batch, heads, queries, keys).
        bias: (1, heads, queries, keys), added to them.
        mask: (batch or 1, 1, queries or 1, keys), added to them.
        drop: which shares are dropped.
    """
    scores = scores.contiguous()
    batch, _, queries, keys = scores.shape
    assert bias is None or bias.shape == (1, *scores.shape[1:])
    bias = None if bias is None else bias.float().contiguous()
    mask = None if mask is None else mask.float()[:, 0].expand(batch, -1, keys).contiguous()
    assert mask is None or mask.shape[1] in (1, queries)
    # From one dialogue to the next, and from one query to the next: a mask may be the same for all queries.
    steps = (0, 0) if mask is None else (mask.shape[1] * keys, keys if mask.shape[1] == queries else 0)
    shares, used = torch.empty_like(scores), None if drop is None else torch.empty_like(scores)
    places = scores, bias, mask, shares, used
    _call("softmax", (scores.dtype,), *places, *scores.shape, *steps, *_dropped(drop))
    return shares, shares if used is None else used


def softmax_gradient(
    gradient: torch.Tensor, shares: torch.Tensor, drop: Drop | None, biased: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return the gradient of the scores, the remaining shares, and the gradient of the bias in fp32 if needed.

    Args:
        gradient: of the remaining shares.
        shares: of `softmax`.
        drop: as for `softmax`.
        biased: whether the gradient of a bias is needed.
    """
    gradient = gradient.contiguous()
    batch, heads, queries, keys = shares.shape
    _check_alike(gradient, shares)
    of_scores, used = torch.empty_like(shares), torch.empty_like(shares)
    of_bias = _fp32(1, heads, queries, keys) if biased else None
    *_, scale = _dropped(drop)
    places = gradient, shares, of_scores, used, of_bias
    _call("softmax_gradient", (shares.dtype,), *places, batch, heads * queries, keys, scale)
    return of_scores, used, of_bias


def decode_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None
) -> torch.Tensor:
    """Return the attention of one new token in each row, whose scores are not scaled; it has no gradient.

    Args:
        query: (rows, heads, 1, features).
        key: (rows, heads, keys, features).
        value: as ``key``.
        bias: (1, heads, 1, keys), added to the scores.
        mask: (rows or 1, 1, 1, keys), added to them; keys after the last one with more than -1e30 are not read.

    Returns:
        (rows, heads, 1, features).
    """
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    rows, heads, keys, features = key.shape
    _check_alike(key, value)
    assert query.shape == (rows, heads, 1, features)
    assert query.dtype == key.dtype
    assert bias is None or bias.shape == (1, heads, 1, keys)
    assert mask is None or mask.shape in ((rows, 1, 1, keys), (1, 1, 1, keys))
    bias, mask = (None if one is None else one.float().contiguous() for one in (bias, mask))
    of_row = keys if mask is not None and len(mask) == rows else 0
    result = torch.empty_like(query)
    _call("decode_attention", (key.dtype,), query, key, value, bias, mask, result, rows, heads, keys, features, of_row)
    return result


def gated_gelu(gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None) -> torch.Tensor:
    """Return GELU (tanh form) of ``gate`` times ``linear``, with dropout; both have the same shape and type."""
    gate, linear = gate.contiguous(), linear.contiguous()
    _check_alike(gate, linear)
    result = torch.empty_like(gate)
    _call("gated_gelu", (gate.dtype,), gate, linear, result, gate.numel(), *_dropped(drop))
    return result


def gated_gelu_gradient(
    gradient: torch.Tensor, gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of ``gate`` and ``linear``."""
    gradient, gate, linear = gradient.contiguous(), gate.contiguous(), linear.contiguous()
    _check_alike(gradient, gate, linear)
    of_gate, of_linear = torch.empty_like(gate), torch.empty_like(linear)
    shape = gate.numel(), *_dropped(drop)
    _call("gated_gelu_gradient", (gate.dtype,), gradient, gate, linear, of_gate, of_linear, *shape)
    return of_gate, of_linear
