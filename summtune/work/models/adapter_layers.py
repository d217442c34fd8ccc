"""Finds the layers of a loaded model that a recipe's adapter is put on, and refuses those that cannot take one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from summtune.base.errors import ModelError
from summtune.machine.adapter_targets import no_layer, tied_head


def check_targets(model: torch.nn.Module, targets: Sequence[str], key: str) -> None:
    """Make sure that each target names linear layers, and only such, whose weights no other module shares.

    Args:
        model: the frozen base.
        targets: each the end of a module's name, as peft reads it: a whole name, or what follows a dot.
        key: of the recipe that names them.

    Raises:
        ModelError: a target names no module, one that is not linear, or one that shares its weights.
    """
    modules = dict(model.named_modules())
    linear = {name for name, module in modules.items() if isinstance(module, torch.nn.Linear)}
    owners = Counter(id(parameter) for module in modules.values() for parameter in module.parameters(recurse=False))
    tied = {name for name in linear if owners[id(modules[name].weight)] > 1}
    usable = {name.rsplit(".", 1)[-1] for name in linear - tied}
    for target in targets:
        named = {name for name in modules if name == target or name.endswith(f".{target}")}
        if not named or not named <= linear:
            raise ModelError(no_layer(key, target, usable))
        if named & tied:
            raise ModelError(tied_head(key, target, usable))
