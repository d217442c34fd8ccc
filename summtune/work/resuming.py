"""Finds the checkpoint that a training goes on from, and refuses one that would make it another training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed

from summtune import checkpoints
from summtune.errors import StageError
from summtune.events import Events
from summtune.files import read_json
from summtune.plan import Launch

_WHOLE_OPTIMIZER = "optimizer.pt"  # every rank holds all of it; DeepSpeed writes a part a process instead


def layout_of(launch: Launch) -> dict[str, Any]:
    """Return what the manifests say of the processes that wrote a checkpoint."""
    return {"processes": launch.processes, "zero_stage": launch.zero_stage}


def resume_point(run_dir: Path, launch: Launch, events: Events) -> Path | None:
    """Return the checkpoint to go on from, None to begin; the first rank looks, and all get the same answer.

    Raises:
        StageError: it was written on another layout, and its state cannot be divided anew.
    """
    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    answer: list[Any] = [None, None]
    if not several or torch.distributed.get_rank() == 0:
        found, refusal = _look(run_dir, launch, events)
        answer = [found.name if found else None, refusal]
    if several:
        torch.distributed.broadcast_object_list(answer, src=0)
    name, refusal = answer
    if refusal is not None:
        raise StageError(refusal)
    return run_dir / "checkpoints" / name if name else None


def _look(run_dir: Path, launch: Launch, events: Events) -> tuple[Path | None, str | None]:
    found, damaged = checkpoints.latest_good(run_dir / "checkpoints")
    for checkpoint in damaged:
        events.warn(f"{checkpoint.path.name} is passed over: {checkpoint.reason}")
    if found is None:
        return None, None
    best = read_json(found / "trainer_state.json").get("best_model_checkpoint")
    if best is not None and not Path(best).is_dir():
        events.warn(f"the best checkpoint until {found.name} is gone ({Path(best).name}): a later one is taken")
    written = checkpoints.layout_of(found)
    refusal = _refusal(found, written, launch)
    if refusal is None:
        before = written.get("processes")
        if before == launch.processes:
            events.say(f"going on from {found.name}")
        else:
            events.say(
                f"going on from {found.name} on another number of processes ({before} → {launch.processes}): the order "
                "of the data stays the same, dropout draws other random numbers"
            )
    return found, refusal


def _refusal(found: Path, written: dict[str, Any], launch: Launch) -> str | None:
    """Return why the checkpoint cannot be used on these processes, None when it can."""
    changed = [
        f"{key} {written.get(key)} → {value}" for key, value in layout_of(launch).items() if written.get(key) != value
    ]
    whole = (found / _WHOLE_OPTIMIZER).is_file()
    if launch.distribution != "deepspeed" and whole:
        return None
    if not changed and (launch.distribution == "deepspeed") != whole:
        return None
    how = "without a DeepSpeed config" if whole else f"with the DeepSpeed config of ZeRO-{written.get('zero_stage')}"
    engines = "none → DeepSpeed" if whole else "DeepSpeed → none"
    return (
        f"{found.name} was written on another layout ({', '.join(changed) or engines}), and its optimizer "
        f"state cannot be divided anew; to go on, set num_processes to {written.get('processes')} and run it {how}, or "
        "begin anew with --fresh"
    )
