"""Makes all ranks agree, after each optimizer step, on going on: no number is broken, and nobody was asked to stop."""

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
    "lower learning_rate, set max_grad_norm, or set bf16: false, and look for odd rows in the data (the checkpoints "
    "from before are kept); the changed recipe is a new run"
)


def broken(what: str, got: float, step: int) -> StageError:
    """Return the error for a number of a step that is none."""
    return StageError(f"{what} is not a number (got {got} at step {step}); {_ADVICE}")


class StepGuard:
    """Looks at each optimizer step.

    On a GPU the numbers of a step are looked at one step later, when the GPU is done with them, so that nothing waits;
    at once where the caller waits for the GPU anyway. The ranks agree over gloo, from CPU to CPU, for the same reason.

    Args:
        stop: whether this rank was asked to stop.
        group: of all ranks, over gloo; None for one process.
    """

    def __init__(self, stop: StopRequest, group: Any = None) -> None:
        self.stop = stop
        self._earlier: tuple[int, torch.Tensor, torch.cuda.Event] | None = None
        self._group = group

    def look(self, step: int, loss: torch.Tensor, grad_norm: torch.Tensor | float | None, at_once: bool) -> bool:
        """Return whether to stop after this step because a rank was asked to; every rank gets the same answer.

        Args:
            step: the optimizer step that is over, from 1.
            loss: of this rank, a scalar.
            grad_norm: of all ranks; negative is how DeepSpeed says that it is no number.
            at_once: look at this very step, also on a GPU.

        Raises:
            StageError: a loss or gradient of some rank is not a number, at this step or the one before.
        """
        bad_step, kind = self._bad(step, loss, grad_norm, at_once)
        agreed = torch.tensor([int(self.stop.asked), (bad_step << 4) | kind])
        if self._group is not None:
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX, group=self._group)
        asked, bad = agreed.tolist()
        self._raise_if_bad(bad & 15, bad >> 4)
        self.stop.asked = self.stop.asked or bool(asked)
        return self.stop.asked

    def check_weights(self, step: int, model: torch.nn.Module) -> None:
        """Refuse weights that are not numbers, before they are saved: this rank's own share of them is looked at.

        Raises:
            StageError: a weight of some rank is not a number.
        """
        finite = [torch.isfinite(getattr(weight, "ds_tensor", weight)).all() for weight in model.parameters()]
        kind = torch.tensor([_FINE if bool(torch.stack(finite).all()) else _WEIGHT])
        if self._group is not None:
            torch.distributed.all_reduce(kind, torch.distributed.ReduceOp.MAX, group=self._group)
        self._raise_if_bad(int(kind), step)

    def _bad(
        self, step: int, loss: torch.Tensor, grad_norm: torch.Tensor | float | None, at_once: bool
    ) -> tuple[int, int]:
        """Return the step that is known to be bad and what is bad there; (0, 0) when none is."""
        found = _kind(loss.detach(), grad_norm)
        if not found.is_cuda:
            return (step, int(found)) if found else (0, _FINE)
        waiting, self._earlier = self._earlier, None
        if at_once:
            now = int(found)  # waits for the GPU, so what was copied before is there too
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
        waiting[2].synchronize()  # the GPU is busy with the step after it
        return (waiting[0], int(waiting[1])) if waiting[1] else (0, _FINE)

    def _raise_if_bad(self, kind: int, step: int) -> None:
        if kind != _FINE:
            raise StageError(f"{_WHAT[kind]} at step {step}); {_ADVICE}")


def _kind(loss: torch.Tensor, grad_norm: Any) -> torch.Tensor:
    """Return what is wrong, on the device of the loss and without waiting for it."""
    kind = torch.zeros((), dtype=torch.int64, device=loss.device)
    if grad_norm is not None:
        norm = torch.as_tensor(grad_norm, device=loss.device).detach()
        kind = torch.where(torch.isfinite(norm) & (norm >= 0), kind, _GRADIENT)
    kind = torch.where(torch.isinf(loss), _INFINITE_LOSS, kind)
    return torch.where(torch.isnan(loss), _NAN_LOSS, kind)
