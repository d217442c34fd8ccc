"""Writes and reads the state of a training: the same files for every layout, which any layout can read.

A checkpoint holds the trained weights in fp32 and the optimizer's state, each tensor whole and under its weight's name,
in safetensors; the random numbers of each rank; and `TrainingState` as JSON. ZeRO's parts are gathered one weight at a
time, so no rank ever holds the whole state.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from summtune.base.files import write_json
from summtune.base.strict import Count, Measure, StrictModel, read_model

STATE_FILE = "state.json"
_WEIGHTS, _OPTIMIZER = "weights", "optimizer"
_FILE_BYTES = 2 << 30  # of tensors that the first rank holds before it writes them


class TrainingState(StrictModel):
    """Where a training is; ``state.json`` of a checkpoint.

    Args:
        step: optimizer steps that are done.
        ended: whether no further step follows: all are done, or patience is exhausted.
        logged_step: the step of the last line of the log.
        pending_losses: for each rank, its shares of the losses since that line, summed.
        best_step: the evaluation with the lowest loss; None before the first.
        best_loss: of that evaluation.
        evaluations_since_best: evaluations without a better loss.
        seconds: that the training has taken, without work that a kill lost.
        device_seconds: the same, times the processes of each session.
        peak_memory_bytes: most that a process has held.
    """

    step: Count = 0
    ended: bool = False
    logged_step: Count = 0
    pending_losses: tuple[float, ...] = ()
    best_step: Count | None = None
    best_loss: Measure | None = None
    evaluations_since_best: Count = 0
    seconds: Measure = 0.0
    device_seconds: Measure = 0.0
    peak_memory_bytes: Count = 0


def read_state(folder: Path) -> TrainingState:
    """Return the state of a checkpoint.

    Raises:
        RunDirectoryError: the file is damaged, or of another version of summtune.
    """
    return read_model(TrainingState, folder / STATE_FILE)


def write_checkpoint(
    folder: Path, accelerator: Accelerator, model: torch.nn.Module, optimizer: Any, state: TrainingState
) -> None:
    """Write a checkpoint; every rank calls this, and the first one writes all but random numbers.

    Args:
        folder: new, visible to all ranks.
        accelerator: of the training.
        model: not wrapped.
        optimizer: as accelerate wraps it.
        state: of the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rank = accelerator.process_index
    save_file(_random_state(accelerator.device), folder / f"random-{rank:05d}.safetensors")
    zero = _zero(accelerator, optimizer)
    weights, optimizer_state = (_Writer(folder, name) if rank == 0 else None for name in (_WEIGHTS, _OPTIMIZER))
    for name, weight in trained_weights(model):
        value = zero.weight(weight) if zero else weight.detach().float()
        values = zero.optimizer_state(weight) if zero else _tensors(optimizer.state.get(weight, {}))
        if weights is not None and optimizer_state is not None:
            weights.add(name, value)
            for key, each in values.items():
                optimizer_state.add(f"{key}/{name}", each)
    if weights is not None and optimizer_state is not None:
        weights.close()
        optimizer_state.close()
        write_json(folder / STATE_FILE, state.to_json())


def load_weights(folder: Path, model: torch.nn.Module) -> None:
    """Give a model the weights of a checkpoint; every rank calls this.

    Args:
        folder: of the checkpoint.
        model: not wrapped. Its weights may be sharded by ZeRO-3.
    """
    with _Reader(folder, _WEIGHTS) as tensors:
        for name, weight in trained_weights(model):
            if hasattr(weight, "ds_id"):
                from deepspeed.runtime.zero import GatheredParameters

                with torch.no_grad(), GatheredParameters([weight], modifier_rank=0):
                    if torch.distributed.get_rank() == 0:
                        weight.copy_(tensors[name])
            else:
                with torch.no_grad():
                    weight.copy_(tensors[name])


def load_optimizer(folder: Path, accelerator: Accelerator, model: torch.nn.Module, optimizer: Any) -> None:
    """Give an optimizer the state of a checkpoint, and ZeRO the fp32 weights; every rank calls this.

    Args:
        folder: of the checkpoint.
        accelerator: of the training.
        model: not wrapped, with the weights of the checkpoint.
        optimizer: as accelerate wraps it.
    """
    zero = _zero(accelerator, optimizer)
    trained = list(trained_weights(model))
    with _Reader(folder, _WEIGHTS) as weights, _Reader(folder, _OPTIMIZER) as state:
        keys = state.keys_of(trained[0][0])
        if zero is None:
            optimizer.load_state_dict(_state_dict(optimizer, trained, state))
            return
        of_first = {key: state[f"{key}/{trained[0][0]}"] for key in keys}
        scalars = {key: value.item() for key, value in of_first.items() if value.ndim == 0}
        divided = tuple(key for key in keys if key not in scalars)
        if keys:
            zero.begin(scalars, divided)
        for name, weight in trained:
            zero.set_weight(weight, weights[name].to(accelerator.device))
            for key in divided:
                zero.set_optimizer_state(weight, key, state[f"{key}/{name}"].to(accelerator.device))


def load_random_state(folder: Path, accelerator: Accelerator) -> bool:
    """Restore the random numbers of this rank; return whether the checkpoint has any for as many ranks."""
    files = list(folder.glob("random-*.safetensors"))
    if len(files) != accelerator.num_processes:
        return False
    state = load_file(folder / f"random-{accelerator.process_index:05d}.safetensors")
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], accelerator.device)
    return True


def trained_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield name and weight of what is trained; a shared weight comes once."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _zero(accelerator: Accelerator, optimizer: Any) -> Any:
    """Return the `ZeroState` of a training; None where each rank holds everything."""
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return None
    from summtune.work.training.zero_state import ZeroState  # imports deepspeed

    return ZeroState.of(optimizer.optimizer)


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {key: torch.as_tensor(value) for key, value in state.items() if value is not None}


def _state_dict(optimizer: Any, trained: list[tuple[str, torch.nn.Parameter]], state: _Reader) -> dict[str, Any]:
    """Return the content of a checkpoint as ``load_state_dict`` of a torch optimizer takes it."""
    own = optimizer.state_dict()
    names = {id(weight): name for name, weight in trained}
    ordered = [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]
    numbers = itertools.chain.from_iterable(group["params"] for group in own["param_groups"])
    found = {
        # Clones: the tensors of an open file are parts of it, and the file is deleted when newer ones are complete.
        number: {key: state[f"{key}/{name}"].clone() for key in state.keys_of(name)}
        for number, name in zip(numbers, ordered, strict=True)
    }
    return {"state": {number: each for number, each in found.items() if each}, "param_groups": own["param_groups"]}


class _Writer:
    """Writes tensors to numbered safetensors, each file as soon as it is large enough."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._waiting: dict[str, torch.Tensor] = {}
        self._bytes = self._files = 0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        self._waiting[name] = tensor.detach().to("cpu").contiguous()
        self._bytes += tensor.nbytes
        if self._bytes >= _FILE_BYTES:
            self.close()

    def close(self) -> None:
        if self._waiting:
            save_file(self._waiting, self._folder / f"{self._kind}-{self._files:05d}.safetensors")
            self._files += 1
        self._waiting, self._bytes = {}, 0


class _Reader:
    """Reads tensors of a checkpoint by name, each when it is asked for."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._paths = sorted(folder.glob(f"{kind}-*.safetensors"))
        self._open = contextlib.ExitStack()
        self._file_of: dict[str, Any] = {}

    def __enter__(self) -> _Reader:
        for path in self._paths:
            file: Any = self._open.enter_context(safe_open(path, framework="pt"))
            self._file_of |= dict.fromkeys(file.keys(), file)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file_of[name].get_tensor(name)
        return tensor

    def keys_of(self, weight: str) -> tuple[str, ...]:
        """Return the keys of the optimizer's state of a weight."""
        found = (name.split("/", 1) for name in self._file_of)
        return tuple(key for key, name in found if name == weight)
