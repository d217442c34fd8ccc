"""Finds the checkpoint from which a training resumes, and refuses one that would change the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed

from summtune.base.errors import StageError
from summtune.base.files import read_json
from summtune.plan.launch import Launch
from summtune.runs import checkpoints
from summtune.runs.events import Events

RESUME_FILE = "resume.json"
_WHOLE_OPTIMIZER = "optimizer.pt"  # the whole state; DeepSpeed writes one part per process instead


@dataclass(frozen=True)
class Start:
    """The state from which a training resumes.

    Args:
        checkpoint: its folder.
        best: the checkpoint with the best evaluation so far; None if there was none or it is gone.
        pending_losses: for each rank that wrote the checkpoint, the loss summed since the last line of the log.
        logged_step: the step of that line.
        seconds: that the training had taken so far, without work that a kill lost.
        device_seconds: the same, times the processes of each session.
        peak_memory_bytes: most that a process had held so far.
    """

    checkpoint: Path
    best: Path | None
    pending_losses: tuple[float, ...]
    logged_step: int
    seconds: float
    device_seconds: float
    peak_memory_bytes: int

    @property
    def step(self) -> int:
        """The optimizer step after which the checkpoint was written."""
        return checkpoints.step_of(self.checkpoint)


def layout_of(launch: Launch, precision: str) -> dict[str, Any]:
    """Return what manifests record about the processes that write a checkpoint.

    Args:
        launch: of the training.
        precision: bf16 or fp32.
    """
    return {"processes": launch.processes, "zero_stage": launch.zero_stage, "precision": precision}


def resume_point(run_dir: Path, launch: Launch, precision: str, events: Events) -> Start | None:
    """Return the state to resume from, None to start from scratch; the first rank decides for all.

    Args:
        run_dir: of the run.
        launch: of the training.
        precision: bf16 or fp32.
        events: to the command that waits.

    Raises:
        StageError: the checkpoint was written on another layout, and its state cannot be redistributed.
    """
    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    answer: list[Any] = [None, None]
    if not several or torch.distributed.get_rank() == 0:
        answer = list(_look(run_dir, layout_of(launch, precision), launch.distribution == "deepspeed", events))
    if several:
        torch.distributed.broadcast_object_list(answer, src=0)
    start, refusal = answer
    if refusal is not None:
        raise StageError(refusal)
    assert start is None or isinstance(start, Start)
    return start


def _look(run_dir: Path, layout: dict[str, Any], deepspeed: bool, events: Events) -> tuple[Start | None, str | None]:
    found, damaged = checkpoints.latest_good(run_dir / "checkpoints")
    for checkpoint in damaged:
        events.warn(f"{checkpoint.path.name} is skipped: {checkpoint.reason}")
    if found is None:
        return None, None
    written = checkpoints.layout_of(found)
    refusal = _refusal(found, written, layout, deepspeed)
    if refusal is not None:
        return None, refusal
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
    kept = read_json(found / RESUME_FILE) if (found / RESUME_FILE).is_file() else {}
    losses, logged_step = tuple(kept.get("losses", ())), kept.get("since_step", checkpoints.step_of(found))
    spent = [kept.get(key, 0) for key in ("seconds", "device_seconds", "peak_memory_bytes")]
    return Start(found, _best(found, events), losses, logged_step, *spent), None


def _best(found: Path, events: Events) -> Path | None:
    """Return the best checkpoint up to ``found``, if it can still be used."""
    recorded = read_json(found / "trainer_state.json").get("best_model_checkpoint")
    if recorded is None:
        return None
    best = found.parent / Path(recorded).name  # the run directory may have been moved since
    reason = checkpoints.damage(best) if best.is_dir() else "it is missing"
    if reason is None:
        return best
    events.warn(
        f"the best checkpoint up to {found.name} cannot be used ({best.name}: {reason}): a later one is used instead, "
        "or the last weights if there is no later evaluation"
    )
    return None


def _refusal(found: Path, written: dict[str, Any], layout: dict[str, Any], deepspeed: bool) -> str | None:
    """Return why the checkpoint cannot be used on these processes; None if it can."""
    changed = [f"{key} {written[key]} → {value}" for key, value in layout.items() if written.get(key, value) != value]
    whole = (found / _WHOLE_OPTIMIZER).is_file()
    if not deepspeed and whole:
        return None
    if not changed and deepspeed != whole:
        return None
    how = "without a DeepSpeed config" if whole else f"with the DeepSpeed config of ZeRO-{written.get('zero_stage')}"
    if written.get("precision", layout["precision"]) != layout["precision"]:
        how += f" and `bf16: {'true' if written['precision'] == 'bf16' else 'false'}`"
    engines = "none → DeepSpeed" if whole else "DeepSpeed → none"
    return (
        f"{found.name} was written on another layout (got {', '.join(changed) or engines}), and its optimizer state "
        f"cannot be redistributed; to resume, set num_processes to {written.get('processes')} and run it {how}, or "
        "start from scratch with --fresh"
    )
