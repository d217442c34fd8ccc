"""Decides in which precision a process computes, on its actual device."""

from __future__ import annotations

from typing import Literal

import torch

from summtune.base.errors import StageError


def use_bf16(asked: bool | Literal["auto"], device: str, has: bool | None = None) -> bool:
    """Return whether to compute in bfloat16.

    Args:
        asked: the recipe's `bf16`.
        device: "cuda" or "cpu".
        has: whether the device supports it; None asks torch, which initializes a GPU and so takes memory there.

    Raises:
        StageError: the recipe asks for bf16 but the device does not support it.
    """
    has = _has_bf16(device) if has is None else has
    if asked is True and not has:
        raise StageError(f"this {device} device cannot compute in bfloat16 (got bf16: true); set `bf16: auto` or false")
    return has if asked == "auto" else asked


def check_device(device: str) -> None:
    """Check that this process can use the device of the plan, so that nothing trains on a CPU by mistake.

    Raises:
        StageError: the driver shows a GPU, but torch cannot use it.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise StageError(
            f"the plan is for a GPU, but torch cannot use it (got torch {torch.__version__}); install a build of torch "
            "for the driver's CUDA, or set CUDA_VISIBLE_DEVICES= to run on the CPU"
        )


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without AMX or AVX512-BF16 a CPU only emulates bfloat16, slower than fp32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
