"""Counts the weights that training did not change: a model that equals its base was not trained."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from summtune.work.models.saved_model import saved_tensors


def unchanged_weights(trained: Path, base: Path) -> dict[str, int | None]:
    """Return ``unchanged_tensors`` and ``compared_tensors``, as ``training.json`` holds them.

    Tensors of the same name are compared one pair at a time, so that two models are never in memory. The base's tensor
    is first converted to the precision of the trained one: fp32 weights that were read from bf16 equal it if they did
    not move. Both counts are None where no name is in both folders. That is so for an adapter, whose weights the base
    does not have.

    Args:
        trained: folder of the trained model's safetensors.
        base: folder of the checkpoint that training started from.
    """
    files = {name: file for file in sorted(base.glob("*.safetensors")) for name in _names(file)}
    unchanged = compared = 0
    for name, tensor in saved_tensors(trained):
        if name in files:
            compared += 1
            unchanged += _is_equal(tensor, files[name], name)
    if not compared:
        return {"unchanged_tensors": None, "compared_tensors": None}
    return {"unchanged_tensors": unchanged, "compared_tensors": compared}


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def _is_equal(trained: torch.Tensor, base_file: Path, name: str) -> bool:
    with safe_open(base_file, framework="pt") as tensors:
        return torch.equal(trained, tensors.get_tensor(name).to(trained.dtype))
