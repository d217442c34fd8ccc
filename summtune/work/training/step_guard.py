"""Lets all ranks agree after each optimizer step whether to continue: all numbers are finite, no rank is to stop."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed

from summtune.base.errors import StageError
from summtune.work.process.stopping import StopRequest

_FINE, _WEIGHT, _GRADIENT, _INFINITE_LOSS, _NAN_LOSS = range(5)
_WHAT = {
    _WEIGHT: "a weight is not a number (got inf or nan",
    _GRADIENT: "the gradient is not a number (got inf or nan",
    _INFINITE_LOSS: "the training loss is not a number (got inf",
    _NAN_LOSS: "the training loss is not a number (got nan",
}


_ADVICE = (
    "lower learning_rate, set max_grad_norm, or set bf16: false, and look for odd rows in the data (earlier "
    "checkpoints are kept); the changed recipe is a new run"
)


def broken(what: str, got: float, step: int) -> StageError:
    """Return the error for a value that is not a finite number."""
    return StageError(f"{what} is not a number (got {got} at step {step}); {_ADVICE}")


class StepGuard:
    """Checks each optimizer step.

    On a GPU the numbers of a step are checked one step later, when the GPU has computed them, so that nothing waits;
    they are checked at once if the caller waits for the GPU anyway. For the same reason the ranks agree over gloo, from
    CPU to CPU.

    Args:
        stop: records whether this rank was asked to stop.
        group: of all ranks, over gloo; None for one process.
        pause_after: step after which to stop as if asked to; None for never.
    """

    def __init__(self, stop: StopRequest, group: Any = None, pause_after: int | None = None) -> None:
        self.stop = stop
        self.pause_after = pause_after
        self._earlier: tuple[int, torch.Tensor, torch.cuda.Event] | None = None
        self._group = group

    def look(self, step: int, loss: torch.Tensor, grad_norm: torch.Tensor | float | None, at_once: bool) -> bool:
        """Return whether to stop after this step because a rank was asked to; all ranks return the same value.

        Args:
            step: the optimizer step that has ended, from 1.
            loss: of this rank, a scalar.
            grad_norm: of all ranks; DeepSpeed returns a negative value if it is not finite.
            at_once: check this step now, even on a GPU.

        Raises:
            StageError: a loss or gradient of some rank is not a number, at this step or the previous one.
        """
        bad_step, kind = self._bad(step, loss, grad_norm, at_once)
        agreed = torch.tensor([int(self.stop.asked or step == self.pause_after), (bad_step << 4) | kind])
        if self._group is not None:
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX, group=self._group)
        asked, bad = agreed.tolist()
        self._raise_if_bad(bad & 15, bad >> 4)
        self.stop.asked = self.stop.asked or bool(asked)
        return self.stop.asked

    def check_weights(self, step: int, model: torch.nn.Module) -> None:
        """Raise if weights are not finite, before they are saved; each rank checks its share.

        Raises:
            StageError: a weight of some rank is not a number.
        """
        finite: dict[torch.device, list[torch.Tensor]] = {}
        for weight in model.parameters():
            share = getattr(weight, "ds_tensor", weight)  # ZeRO-3 with offload keeps the small ones on the GPU
            finite.setdefault(share.device, []).append(torch.isfinite(share).all())
        kind = torch.tensor([_FINE if all(bool(torch.stack(each).all()) for each in finite.values()) else _WEIGHT])
        if self._group is not None:
            torch.distributed.all_reduce(kind, torch.distributed.ReduceOp.MAX, group=self._group)
        self._raise_if_bad(int(kind), step)

    def _bad(
        self, step: int, loss: torch.Tensor, grad_norm: torch.Tensor | float | None, at_once: bool
    ) -> tuple[int, int]:
        """Return the step that is known to be bad and what is wrong with it; (0, 0) if none is."""
        found = _kind(loss.detach(), grad_norm)
        if not found.is_cuda:
            return (step, int(found)) if found else (0, _FINE)
        waiting, self._earlier = self._earlier, None
        if at_once:
            now = int(found)  # waits for the GPU, so the earlier copy is complete too
            if waiting and waiting[1]:
                return waiting[0], int(waiting[1])
            return (step, now) if now else (0, _FINE)
        copy = torch.empty((), dtype=found.dtype, pin_memory=True)
        copy.copy_(found, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        self._earlier = (step, copy, done)
        if waiting is None:
            return 0, _FINE
        waiting[2].synchronize()  # the GPU is busy with the next step
        return (waiting[0], int(waiting[1])) if waiting[1] else (0, _FINE)

    def _raise_if_bad(self, kind: int, step: int) -> None:
        if kind != _FINE:
            raise StageError(f"{_WHAT[kind]} at step {step}); {_ADVICE}")


def _kind(loss: torch.Tensor, grad_norm: Any) -> torch.Tensor:
    """Return what is wrong as a tensor on the loss's device, without waiting for it."""
    kind = torch.zeros((), dtype=torch.int64, device=loss.device)
    if grad_norm is not None:
        norm = torch.as_tensor(grad_norm, device=loss.device).detach()
        kind = torch.where(torch.isfinite(norm) & (norm >= 0), kind, _GRADIENT)
    kind = torch.where(torch.isinf(loss), _INFINITE_LOSS, kind)
    return torch.where(torch.isnan(loss), _NAN_LOSS, kind)
