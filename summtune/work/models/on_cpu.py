"""The only module that knows `summtune.work.cpu`, the folder that makes models faster on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

from torch import nn
from transformers import PreTrainedModel


def quicken(model: PreTrainedModel, purpose: Literal["training", "generation"], say: Callable[[str], None]) -> None:
    """Let a model on a CPU use faster operations, in place; its results stay the same.

    Without the folder the model stays as transformers made it.

    Args:
        model: as transformers loads it, before an adapter is added or after it is merged.
        purpose: a model for generation can no longer be trained or saved.
        say: receives what is slow on this machine, with the reason.
    """
    if find_spec("summtune.work.cpu") is None:
        return
    from summtune.work import cpu

    cpu.quicken(model, purpose, say)


def quicken_adapter(model: nn.Module) -> None:
    """Let the adapter of a model that is trained on a CPU use faster operations, in place.

    Args:
        model: that `quicken` has changed for training, with an adapter.
    """
    if find_spec("summtune.work.cpu") is None:
        return
    from summtune.work import cpu

    cpu.quicken_adapter(model)
