"""Gathers and sets the fp32 weights and optimizer state that ZeRO divides among the ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from deepspeed.utils import (
    lazy_init_hp_params_optimizer_state,
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)

from summtune.base.errors import StageError

# The flat fp32 tensors of this rank, which the inner optimizer updates: of ZeRO-1 and -2, and of ZeRO-3.
_FLAT = ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat")
_MEMBERS = "bit16_groups"  # of ZeRO-1 and -2: the weights of a group are parts of the flat tensor of the same place


class ZeroState:
    """The divided state of a training with DeepSpeed. All ranks must make each call, in the same order.

    Args:
        optimizer: of the DeepSpeed engine.
    """

    def __init__(self, optimizer: Any) -> None:
        self._inner: torch.optim.Optimizer = optimizer.optimizer
        self._flat: list[torch.Tensor] = next(getattr(optimizer, name) for name in _FLAT if hasattr(optimizer, name))
        self._members: Any = getattr(optimizer, _MEMBERS, None)
        if self._inner.state:
            self._link()

    @classmethod
    def of(cls, optimizer: Any) -> ZeroState | None:
        """Return the divided state of an optimizer of DeepSpeed; None where each rank holds everything.

        Raises:
            StageError: DeepSpeed keeps its own fp32 weights without dividing them.
        """
        if any(hasattr(optimizer, name) for name in _FLAT):
            return cls(optimizer)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise StageError(
                "without ZeRO, DeepSpeed keeps fp32 weights in bf16 training that checkpoints cannot hold (got "
                f"{type(optimizer).__name__}); use ZeRO-1, set bf16: false, or train without deepspeed"
            )
        return None

    def weight(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """Return the whole weight in fp32."""
        gathered: torch.Tensor = safe_get_full_fp32_param(parameter)
        return gathered

    def optimizer_state(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """Return the whole state of a weight, as an undivided optimizer would have it; empty before the first step."""
        flat = self._flat[0]
        state = self._inner.state.get(flat, {})
        return {
            key: safe_get_full_optimizer_state(parameter, key)
            if _is_divided(value, flat)
            else torch.as_tensor(value).clone()
            for key, value in state.items()
        }

    def set_weight(self, parameter: torch.nn.Parameter, value: torch.Tensor) -> None:
        """Set the fp32 weight of which the model has a copy; the model's own weight is not changed.

        Args:
            parameter: of the model.
            value: the whole weight.
        """
        if hasattr(parameter, "ds_tensor"):
            safe_set_local_fp32_param(parameter, _part_of_this_rank(parameter, value))
        else:
            safe_set_full_fp32_param(parameter, value)

    def begin(self, scalars: Mapping[str, float], keys: tuple[str, ...]) -> None:
        """Create the state that the optimizer's first step would create, so that it can be set.

        Args:
            scalars: values that are the same for all weights, such as the number of steps.
            keys: of the tensors, each of the shape of its weight.
        """
        for group, flat in enumerate(self._flat):
            state: dict[str, Any] = {key: self._scalar(group, flat, value) for key, value in scalars.items()}
            state |= {key: torch.zeros_like(flat) for key in keys}
            self._inner.state[flat] = state
        self._link()

    def set_optimizer_state(self, parameter: torch.nn.Parameter, key: str, value: torch.Tensor) -> None:
        """Set a tensor of the optimizer's state, after `begin`; ``value`` has the shape of the whole weight."""
        if hasattr(parameter, "ds_tensor"):
            safe_set_local_optimizer_state(parameter, _part_of_this_rank(parameter, value), key)
        else:
            safe_set_full_optimizer_state(parameter, value, key)

    def _link(self) -> None:
        """Let the weights of ZeRO-1 and -2 know their parts of the state.

        DeepSpeed does so after the first step of the first group, when the other groups have no state yet.
        """
        if self._members is not None:
            for members, flat in zip(self._members, self._flat, strict=True):
                lazy_init_hp_params_optimizer_state(members, flat, self._inner.state)

    def _scalar(self, group: int, flat: torch.Tensor, value: float) -> Any:
        if not isinstance(self._inner, torch.optim.Adam):  # DeepSpeed's own optimizers count in int
            return int(value)
        options = self._inner.param_groups[min(group, len(self._inner.param_groups) - 1)]
        on_device = options.get("fused") or options.get("capturable")
        return torch.tensor(value, dtype=torch.float32, device=flat.device if on_device else "cpu")


def _is_divided(value: Any, flat: torch.Tensor) -> bool:
    return torch.is_tensor(value) and value.shape == flat.shape


def _part_of_this_rank(parameter: Any, value: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a weight under ZeRO-3, filled up with zeros as DeepSpeed fills it up."""
    size = parameter.ds_tensor.numel()
    start = torch.distributed.get_rank() * size
    part = value.flatten()[start : start + size]
    return torch.nn.functional.pad(part, (0, size - part.numel()))
