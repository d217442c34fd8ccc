"""Finds the checkpoint from which a training resumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed

from summtune.plan.launch import Launch
from summtune.runs import checkpoints
from summtune.runs.events import Events
from summtune.work.training.checkpoint import STATE_FILE, TrainingState, read_state


@dataclass(frozen=True)
class Start:
    """The state from which a training resumes.

    Args:
        checkpoint: its folder.
        state: of the training, without a best evaluation whose checkpoint is gone.
    """

    checkpoint: Path
    state: TrainingState


def layout_of(launch: Launch, precision: str) -> dict[str, Any]:
    """Return what manifests record about the processes that write a checkpoint.

    Args:
        launch: of the training.
        precision: bf16 or fp32.
    """
    return {"processes": launch.processes, "zero_stage": launch.zero_stage, "precision": precision}


def resume_point(run_dir: Path, layout: dict[str, Any], events: Events) -> Start | None:
    """Return the state to resume from, None to start from scratch; the first rank decides for all.

    Args:
        run_dir: of the run.
        layout: of the processes that resume (`layout_of`).
        events: to the command that waits.
    """
    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    answer: list[Start | None] = [None]
    if not several or torch.distributed.get_rank() == 0:
        answer = [_look(run_dir, layout, events)]
    if several:
        torch.distributed.broadcast_object_list(answer, src=0)
    return answer[0]


def _look(run_dir: Path, layout: dict[str, Any], events: Events) -> Start | None:
    found, damaged = checkpoints.latest_good(run_dir / "checkpoints")
    for checkpoint in damaged:
        events.warn(f"{checkpoint.path.name} is skipped: {checkpoint.reason}")
    if found is None:
        return None
    if not (found / STATE_FILE).is_file():
        events.warn(
            f"{found.name} was written by another version of summtune (it has no {STATE_FILE}); the training starts "
            "again"
        )
        return None
    written = checkpoints.layout_of(found)
    before, now = written.get("processes"), layout["processes"]
    if before == now:
        events.say(f"resuming from {found.name}")
    else:
        events.say(
            f"resuming from {found.name} on another number of processes ({before} → {now}): the order of the data "
            "stays the same, but dropout draws other random numbers"
        )
    precision = written.get("precision", layout["precision"])
    if precision != layout["precision"]:
        events.warn(
            f"{found.name} was written in {precision}, but this device computes in {layout['precision']}: the numbers "
            "differ from here on; set `bf16: true` or false for the same precision on every machine"
        )
    return Start(found, _with_usable_best(found, read_state(found), events))


def _with_usable_best(found: Path, state: TrainingState, events: Events) -> TrainingState:
    """Return the state, without its best evaluation if the checkpoint of that one cannot be used."""
    if state.best_step is None:
        return state
    best = checkpoints.path_of(found.parent, state.best_step)
    reason = checkpoints.damage(best) if best.is_dir() else "it is missing"
    if reason is None:
        return state
    events.warn(
        f"the best checkpoint up to {found.name} cannot be used ({best.name}: {reason}): a later one is used instead, "
        "or the last weights if there is no later evaluation"
    )
    return state.model_copy(update={"best_step": None, "best_loss": None})
