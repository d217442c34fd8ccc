"""Makes models faster on CPUs without a change of their results; the package works without this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from summtune.work.cpu import t5_on_cpu
from summtune.work.cpu.adapter_dropout import quicken_dropout
from summtune.work.cpu.encoding import encode_in_parts
from summtune.work.cpu.packed_weights import pack_weights
from summtune.work.cpu.products import multiply_with_onednn


def quicken(model: PreTrainedModel, purpose: Literal["training", "generation"], say: Callable[[str], None]) -> None:
    """Let a model on a CPU use faster operations, in place.

    Args:
        model: as transformers loads it, before an adapter is added or after it is merged.
        purpose: a model for generation can no longer be trained or saved.
        say: receives what is slow on this machine, with the reason.
    """
    t5_on_cpu.quicken(model, say)
    if purpose == "generation":
        encode_in_parts(model)
        pack_weights(model)
    else:
        multiply_with_onednn(model)


def quicken_adapter(model: nn.Module) -> None:
    """Let the adapter of a model that is trained on a CPU use faster operations, in place.

    Args:
        model: that `quicken` has changed for training, with an adapter.
    """
    multiply_with_onednn(model)
    quicken_dropout(model)
