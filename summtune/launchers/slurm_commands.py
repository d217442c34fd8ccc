"""Slurm's commands, as a run needs them: submit a script, and ask for the state of a job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import InputError, StageError

_COMMAND_SECONDS = 60.0

ENDED = {  # the states in which a job stays, in words
    "BOOT_FAIL": "a node did not start",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "it ended",
    "DEADLINE": "it reached its deadline",
    "FAILED": "its script failed",
    "NODE_FAIL": "a node failed",
    "OUT_OF_MEMORY": "memory ran out; lower micro_batch_size, or ask for more with slurm.extra: ['--mem=…']",
    "PREEMPTED": "another job took its place",
    "REVOKED": "it was revoked",
    "TIMEOUT": "a step and a checkpoint did not fit into stop_seconds before its time limit; raise slurm.stop_seconds",
    "UNKNOWN": "Slurm no longer remembers how it ended",
}


@dataclass(frozen=True)
class State:
    """What Slurm says of a job: its state, the reason, and the exit code of its script."""

    name: str
    reason: str = ""
    exit_code: str = ""

    @property
    def active(self) -> bool:
        """Whether it waits, runs, or will run again."""
        return self.name not in ENDED


def submit_script(script: Path) -> str:
    """Submit a script and return the id of its job.

    Raises:
        InputError: there is no sbatch here, or it refuses the job.
    """
    code, said, complaint = _slurm("sbatch", "--parsable", str(script))
    if code != 0:
        raise InputError(
            f"sbatch does not take the job (got {_last_line(complaint)!r} for {script}); correct the slurm section of "
            "the recipe, unless sbatch itself does not work here"
        )
    return _last_line(said).split(";")[0]  # the name of the cluster may follow


def state_of(job_id: str) -> State:
    """Return the state of a job, ``UNKNOWN`` when Slurm does not remember it.

    Raises:
        StageError: Slurm does not answer.
    """
    code, said, complaint = _slurm("scontrol", "show", "job", "--oneliner", job_id)
    match = re.search(r"\bJobState=(\S+) Reason=(\S+)", said)
    if code == 0 and match is not None:
        exit_code = re.search(r"\bExitCode=(\S+)", said)
        return State(match[1], "" if match[2] == "None" else match[2], exit_code[1] if exit_code else "")
    if "Invalid job id" not in complaint:
        raise StageError(
            f"Slurm does not tell the state of job {job_id} (got {_last_line(complaint or said)!r}); give the same "
            f"command again when `scontrol show job {job_id}` works"
        )
    # It ended more than a few minutes ago, and the controller has forgotten it. Not every cluster keeps accounts.
    code, said, _ = _slurm("sacct", "-X", "-n", "-P", "-j", job_id, "-o", "State,ExitCode")
    name, _, exit_code_text = _last_line(said).partition("|")
    return State(name.split()[0], "", exit_code_text) if code == 0 and name else State("UNKNOWN")


def _slurm(*command: str) -> tuple[int, str, str]:
    """Run one of Slurm's commands and return its exit code and what it said.

    Raises:
        InputError: there is no such command here.
    """
    if shutil.which(command[0]) is None:
        if command[0] == "sacct":
            return 1, "", ""
        raise InputError(
            f"`launcher: slurm` needs Slurm's commands (got no {command[0]} on this machine); run it on a login node"
        )
    # Inside an allocation SLURM_… describes that one, and would be taken for options of the new job.
    kept = ("SLURM_CONF", "SLURM_CLUSTERS")
    environment = {key: value for key, value in os.environ.items() if key in kept or not key.startswith("SLURM_")}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False,
            start_new_session=True,  # an interrupt at the keyboard is for summtune, not for half of a submission
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, "", f"{command[0]} did not answer in {_COMMAND_SECONDS:.0f} s"
    return done.returncode, done.stdout, done.stderr


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
