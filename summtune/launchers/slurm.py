"""Submits the stages of a run as one Slurm job, follows it, and finds it again."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError, RunDirectoryError, StageError
from summtune.base.files import read_json, write_json, write_text
from summtune.launchers.local import Listener, interrupts_held_back
from summtune.launchers.sbatch_script import JOB_FILE, NOT_REQUEUED, STOPPED, sbatch_script
from summtune.launchers.slurm_commands import ENDED, State, state_of, submit_script
from summtune.plan.plan import RunPlan
from summtune.recipe.sections import Slurm
from summtune.runs.events import EventReader, events_file
from summtune.runs.run_directory import is_complete

SCRIPT = "job.sbatch"

_EVENT_SECONDS = 0.5
_STATE_SECONDS = 3.0
_VISIBLE_SECONDS = 90.0


@dataclass(frozen=True)
class Job:
    """A submitted job, as ``job.json`` remembers it.

    Args:
        id: Slurm's.
        events_from: bytes of the events file that were there before it.
    """

    id: str
    events_from: int

    def log(self, run_dir: Path) -> Path:
        """Return where Slurm writes what the job prints."""
        return run_dir / "logs" / f"slurm-{self.id}.log"


def job_of(run_dir: Path) -> Job | None:
    """Return the job that was submitted last for a run directory; None when there was none.

    Raises:
        InputError: the file that remembers it cannot be read.
    """
    path = run_dir / JOB_FILE
    try:
        found = read_json(path)
        job = Job(id=found["id"], events_from=found["events_from"])
        # The id becomes an argument of Slurm's commands, and must not be taken for an option.
        if not re.fullmatch(r"[A-Za-z0-9_.+]+", job.id) or type(job.events_from) is not int or job.events_from < 0:
            raise ValueError("not the id of a job and a place in its events")
        return job
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"the file that names the Slurm job cannot be read (got {path}: {error}); look with squeue whether the job "
            "runs, and delete the file if not"
        ) from None


def submit(plan: RunPlan, run_dir: Path) -> Job:
    """Write the script, submit it, and remember the job.

    Raises:
        InputError: there is no sbatch here, or it refuses the job.
    """
    (run_dir / "logs").mkdir(exist_ok=True)
    write_text(run_dir / SCRIPT, sbatch_script(plan.name, plan.recipe.slurm or Slurm(), plan.stages, run_dir))
    events = events_file(run_dir)
    # An interrupt between the two would leave a job that nobody knows. (A kill leaves one that ends itself.)
    with interrupts_held_back():
        job = Job(submit_script(run_dir / SCRIPT), events_from=events.stat().st_size if events.exists() else 0)
        write_json(run_dir / JOB_FILE, asdict(job))
    return job


def take_up(
    run_dir: Path, stages: Sequence[str], listener: Listener, *, launcher: str, fresh: bool, detach: bool
) -> bool:
    """See to the job that an earlier command left, if any; return False when it goes on and is not waited for.

    A job that waits or runs is followed to its end. One that ended without completing its stages is told as a warning.

    Args:
        run_dir: that holds a run.
        stages: that a job does.
        listener: told what goes on.
        launcher: of the recipe.
        fresh: the run is to begin anew.
        detach: do not wait.

    Raises:
        RunDirectoryError: the job is at work, and something else was asked for.
        StageError: it was followed and failed.
    """
    job = job_of(run_dir)
    if job is None or (_complete(run_dir, stages) and not fresh):
        return True
    if launcher != "slurm" and shutil.which("scontrol") is None:
        raise RunDirectoryError(
            f"a Slurm job was submitted for this directory and may be at work (got job {job.id} in "
            f"{run_dir / JOB_FILE}, and no scontrol on this machine); delete that file if the job has ended"
        )
    state = state_of(job.id)
    if not state.active:
        if not fresh:
            _tell_how_it_ended(job, run_dir, stages, state, listener)
        return True
    if fresh or launcher != "slurm":
        raise RunDirectoryError(
            f"Slurm job {job.id} is at work in this directory (got {state.name} for {run_dir}); `scancel {job.id}` "
            "ends it"
        )
    if detach:
        _say(listener, f"job {job.id}: {state.name.lower()}; the same command without --detach follows it")
        return False
    follow(job, run_dir, stages, listener)
    return True


def follow(job: Job, run_dir: Path, stages: Sequence[str], listener: Listener) -> None:
    """Pass on what the job's processes say, and return when it has done all its stages.

    Args:
        job: submitted, whether it waits, runs or has ended.
        run_dir: of the run.
        stages: that the job does.
        listener: told what the processes say.

    Raises:
        StageError: the job ended without; its state, the cause and a log are named.
    """
    reader = EventReader(run_dir, job.events_from)
    errors: list[dict[str, Any]] = []
    try:
        state = _wait_for_the_end(job, reader, errors, listener)
        _hear(reader, errors, listener)
    except Exception:
        raise
    except BaseException:  # an interrupt ends the waiting, not the job
        _say(listener, f"job {job.id} goes on; `scancel {job.id}` ends it, the same command follows it again")
        raise
    if state.name == "COMPLETED":
        _wait_until_visible(run_dir, stages)
    if not _complete(run_dir, stages):
        raise failure(job, run_dir, state, errors)


def _tell_how_it_ended(job: Job, run_dir: Path, stages: Sequence[str], state: State, listener: Listener) -> None:
    """Warn of a job that ended without completing its stages, however it ended and whether Slurm remembers it."""
    # The job may have ended after the look at its files, and a file that is not seen yet would be made anew.
    if state.name == "COMPLETED" and not _complete(run_dir, stages):
        _say(listener, f"job {job.id}: completed; waiting up to {_VISIBLE_SECONDS:.0f} s for its files")
        _wait_until_visible(run_dir, stages)
    if not _complete(run_dir, stages):
        listener({"event": "warning", "stage": "slurm", "text": str(failure(job, run_dir, state))})


def failure(job: Job, run_dir: Path, state: State, errors: Sequence[dict[str, Any]] | None = None) -> StageError:
    """Return the error for a job that ended before its stages were complete.

    Args:
        job: that ended.
        run_dir: of the run.
        state: in which it ended.
        errors: events that say why; they are looked up when None.
    """
    if errors is None:
        errors = []
        _hear(EventReader(run_dir, job.events_from), errors, None)
    log = job.log(run_dir)
    chosen = next((event for event in errors if event["expected"]), errors[0] if errors else None)
    shown = f"{state.name}{f', exit code {state.exit_code}' if state.name == 'FAILED' else ''}"
    why = ENDED[state.name]
    if state.exit_code.startswith(f"{STOPPED}:"):
        why = "it was told to stop (time limit or preemption) before anything was saved; raise slurm.time"
    if state.exit_code.startswith(f"{NOT_REQUEUED}:"):
        why = "it was told to stop (time limit or preemption), and Slurm does not let it requeue itself"
    if chosen is not None and state.name in ("FAILED", "COMPLETED", "UNKNOWN"):
        log_of_rank = run_dir / "logs" / f"{chosen['stage']}.rank{chosen['rank']}.log"
        log = log_of_rank if log_of_rank.exists() else log
        return StageError(
            f"the {chosen['stage']} stage failed in Slurm job {job.id} ({shown}): {chosen['text']}", str(log)
        )
    text = f"Slurm job {job.id} ended before its stages were complete (got {shown}): {why}"
    if not log.exists():
        text += f"; it left no log: is {run_dir} on a file system that the nodes share?"
    return StageError(f"{text}; the same command goes on from the last checkpoint", str(log))


def _wait_for_the_end(job: Job, reader: EventReader, errors: list[dict[str, Any]], listener: Listener) -> State:
    told, silent, looked = "", False, -_STATE_SECONDS
    while True:
        _hear(reader, errors, listener)
        if time.monotonic() - looked >= _STATE_SECONDS:
            looked = time.monotonic()
            try:
                state = state_of(job.id)
            except StageError as error:
                if not silent:  # the controller restarts now and then; the job goes on meanwhile
                    listener({"event": "warning", "stage": "slurm", "text": f"{error}; still trying"})
                silent = True
                continue
            silent = False
            if not state.active:
                return state
            text = f"job {job.id}: {state.name.lower()}{f' ({state.reason})' if state.reason else ''}"
            if text != told:
                _say(listener, text)
            told = text
        time.sleep(_EVENT_SECONDS)


def _hear(reader: EventReader, errors: list[dict[str, Any]], listener: Listener | None) -> None:
    for event in reader.new():
        if event["event"] == "error":
            errors.append(event)
            continue
        if event["event"] == "started":
            errors.clear()  # of an attempt before a requeue
        if listener is not None:
            listener(event)


def _complete(run_dir: Path, stages: Sequence[str]) -> bool:
    return all(is_complete(run_dir, stage) for stage in stages)


def _wait_until_visible(run_dir: Path, stages: Sequence[str]) -> None:
    """Wait for what the nodes wrote: a shared file system may show it here a little later."""
    end = time.monotonic() + _VISIBLE_SECONDS
    while not _complete(run_dir, stages) and time.monotonic() < end:
        time.sleep(_EVENT_SECONDS)


def _say(listener: Listener, text: str) -> None:
    listener({"event": "message", "stage": "slurm", "text": text})
