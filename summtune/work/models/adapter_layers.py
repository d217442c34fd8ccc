"""Checks that the layers that an adapter targets in a loaded model can take one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, whose weight is transposed

from summtune.base.errors import ModelError
from summtune.machine.adapter_targets import no_layer, tied_head


def check_targets(model: torch.nn.Module, targets: Sequence[str], key: str) -> None:
    """Check that each target names only linear layers, which share their weights with no other module.

    Args:
        model: the frozen base.
        targets: each the end of a module's name, as in peft: the whole name, or the part after a dot.
        key: the recipe key that names them.

    Raises:
        ModelError: a target names no module, a module that is not linear, or one that shares its weights.
    """
    modules = dict(model.named_modules())
    linear = {name for name, module in modules.items() if isinstance(module, (torch.nn.Linear, Conv1D))}
    owners = Counter(id(parameter) for module in modules.values() for parameter in module.parameters(recurse=False))
    tied = {name for name in linear if owners[id(modules[name].weight)] > 1}
    usable = {name.rsplit(".", 1)[-1] for name in linear - tied}
    for target in targets:
        named = {name for name in modules if name == target or name.endswith(f".{target}")}
        if not named or not named <= linear:
            raise ModelError(no_layer(key, target, usable))
        if named & tied:
            raise ModelError(tied_head(key, target, usable))
