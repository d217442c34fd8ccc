"""Submits the stages of a run as one Slurm job, follows it, and finds it again."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError, RunDirectoryError, StageError, StageStopped
from summtune.base.files import read_json, write_json, write_text
from summtune.launchers.local import Listener, interrupts_held_back
from summtune.launchers.sbatch_script import JOB_FILE, NOT_REQUEUED, STOPPED, sbatch_script
from summtune.launchers.slurm_commands import ENDED, State, state_of, submit_script
from summtune.plan.plan import LocalPlan
from summtune.recipe.sections import Slurm
from summtune.runs.events import EventReader, events_file
from summtune.runs.run_directory import is_complete

SCRIPT = "job.sbatch"

_EVENT_SECONDS = 0.5
_STATE_SECONDS = 3.0
_VISIBLE_SECONDS = 90.0


@dataclass(frozen=True)
class Job:
    """A submitted job, as recorded in ``job.json``.

    Args:
        id: Slurm's job id.
        events_from: size in bytes of the events file when the job was submitted.
    """

    id: str
    events_from: int

    def log(self, run_dir: Path) -> Path:
        """Return where Slurm writes what the job prints."""
        return run_dir / "logs" / f"slurm-{self.id}.log"


def job_of(run_dir: Path) -> Job | None:
    """Return the job that was last submitted for a run directory; None if there was none.

    Raises:
        InputError: the file that names it cannot be read.
    """
    path = run_dir / JOB_FILE
    try:
        found = read_json(path)
        job = Job(id=found["id"], events_from=found["events_from"])
        # The id becomes an argument of Slurm's commands and must not look like an option.
        if not re.fullmatch(r"[A-Za-z0-9_.+]+", job.id) or type(job.events_from) is not int or job.events_from < 0:
            raise ValueError("not a job id and an offset into the events file")
        return job
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"the file that names the Slurm job cannot be read (got {path}: {error}); check with squeue whether the "
            "job runs, and delete the file if not"
        ) from None


def submit(plan: LocalPlan, run_dir: Path) -> Job:
    """Write the script, submit it and record the job.

    Raises:
        InputError: this machine has no sbatch, or sbatch rejects the job.
    """
    (run_dir / "logs").mkdir(exist_ok=True)
    write_text(run_dir / SCRIPT, sbatch_script(plan.name, plan.recipe.slurm or Slurm(), plan.stages, run_dir))
    events = events_file(run_dir)
    # An interrupt between the two would leave an unrecorded job. (A kill leaves one that ends itself.)
    with interrupts_held_back():
        job = Job(submit_script(run_dir / SCRIPT), events_from=events.stat().st_size if events.exists() else 0)
        write_json(run_dir / JOB_FILE, asdict(job))
    return job


def take_up(
    run_dir: Path, stages: Sequence[str], listener: Listener, *, launcher: str, fresh: bool, detach: bool
) -> bool:
    """Handle the job that an earlier command left, if any; return False if it is still active and not waited for.

    A job that is pending or running is followed to its end. One that ended without completing its stages is reported
    as a warning.

    Args:
        run_dir: of a run.
        stages: that the job runs.
        listener: receives events.
        launcher: of the recipe.
        fresh: whether the run starts from scratch.
        detach: do not wait.

    Raises:
        RunDirectoryError: the job is active, and the command asks for something else.
        StageError: the job was followed and failed.
    """
    job = job_of(run_dir)
    if job is None or (_complete(run_dir, stages) and not fresh):
        return True
    if launcher != "slurm" and shutil.which("scontrol") is None:
        raise RunDirectoryError(
            f"a Slurm job was submitted for this directory and may be active (got job {job.id} in "
            f"{run_dir / JOB_FILE}, and no scontrol on this machine); delete that file if the job has ended"
        )
    state = state_of(job.id)
    if not state.active:
        if not fresh:
            _warn_of_incomplete(job, run_dir, stages, state, listener)
        return True
    if fresh or launcher != "slurm":
        raise RunDirectoryError(
            f"Slurm job {job.id} is active in this directory (got {state.name} for {run_dir}); `scancel {job.id}` "
            "ends it"
        )
    if detach:
        _say(listener, f"job {job.id}: {state.name.lower()}; the same command without --detach follows it")
        return False
    follow(job, run_dir, stages, listener)
    return True


def follow(job: Job, run_dir: Path, stages: Sequence[str], listener: Listener) -> None:
    """Forward the events of the job's processes and return when it has completed all its stages.

    Args:
        job: submitted; it may be pending, running or ended.
        run_dir: of the run.
        stages: that the job runs.
        listener: receives the events of the processes.

    Raises:
        StageError: the job ended before its stages were complete; the error gives its state, the cause and a log.
        StageStopped: it was asked to stop and has saved its state, but cannot requeue itself.
    """
    reader = EventReader(run_dir, job.events_from)
    errors: list[dict[str, Any]] = []
    try:
        state = _wait_for_the_end(job, reader, errors, listener)
        _forward(reader, errors, listener)
    except Exception:
        raise
    except BaseException:  # an interrupt ends the waiting, not the job
        _say(listener, f"job {job.id} continues; `scancel {job.id}` ends it, the same command follows it again")
        raise
    if state.name == "COMPLETED":
        _wait_until_visible(run_dir, stages)
    if not _complete(run_dir, stages):
        if state.exit_code.startswith(f"{NOT_REQUEUED}:"):
            raise StageStopped(
                f"Slurm job {job.id} was asked to stop and has saved its state, and Slurm does not let it requeue "
                f"itself (got {state.name}, exit code {state.exit_code}); the same command submits it again"
            )
        raise failure(job, run_dir, state, errors)


def _warn_of_incomplete(job: Job, run_dir: Path, stages: Sequence[str], state: State, listener: Listener) -> None:
    """Warn of a job that ended without completing its stages, even if Slurm no longer knows how."""
    # The job may have ended after its files were checked, and a stage whose files are not visible yet would run again.
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
        errors: events that give the cause; None: read them from the events file.
    """
    if errors is None:
        errors = []
        _forward(EventReader(run_dir, job.events_from), errors, None)
    log = job.log(run_dir)
    chosen = next((event for event in errors if event["expected"]), errors[0] if errors else None)
    shown = f"{state.name}{f', exit code {state.exit_code}' if state.name == 'FAILED' else ''}"
    why = ENDED[state.name]
    if state.exit_code.startswith(f"{STOPPED}:"):
        why = "it was asked to stop (time limit or preemption) before anything was saved; raise slurm.time"
    if state.exit_code.startswith(f"{NOT_REQUEUED}:"):
        why = "it was asked to stop (time limit or preemption), and Slurm does not let it requeue itself"
    if chosen is not None and state.name in ("FAILED", "COMPLETED", "UNKNOWN"):
        log_of_rank = run_dir / "logs" / f"{chosen['stage']}.rank{chosen['rank']}.log"
        log = log_of_rank if log_of_rank.exists() else log
        return StageError(
            f"the {chosen['stage']} stage failed in Slurm job {job.id} ({shown}): {chosen['text']}",
            str(log),
            chosen.get("exit_code", 1),
        )
    text = f"Slurm job {job.id} ended before its stages were complete (got {shown}): {why}"
    if not log.exists():
        text += f"; it left no log: is {run_dir} on a file system that the nodes share?"
    return StageError(f"{text}; the same command resumes from the last checkpoint", str(log))


def _wait_for_the_end(job: Job, reader: EventReader, errors: list[dict[str, Any]], listener: Listener) -> State:
    shown, silent, asked = "", False, -_STATE_SECONDS
    while True:
        _forward(reader, errors, listener)
        if time.monotonic() - asked >= _STATE_SECONDS:
            asked = time.monotonic()
            try:
                state = state_of(job.id)
            except StageError as error:
                if not silent:  # the controller may restart while the job continues
                    listener({"event": "warning", "stage": "slurm", "text": f"{error}; still trying"})
                silent = True
                continue
            silent = False
            if not state.active:
                return state
            text = f"job {job.id}: {state.name.lower()}{f' ({state.reason})' if state.reason else ''}"
            if text != shown:
                _say(listener, text)
            shown = text
        time.sleep(_EVENT_SECONDS)


def _forward(reader: EventReader, errors: list[dict[str, Any]], listener: Listener | None) -> None:
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
    """Wait for the files that the nodes wrote: a shared file system may show them on this machine a little later."""
    end = time.monotonic() + _VISIBLE_SECONDS
    while not _complete(run_dir, stages) and time.monotonic() < end:
        time.sleep(_EVENT_SECONDS)


def _say(listener: Listener, text: str) -> None:
    listener({"event": "message", "stage": "slurm", "text": text})
