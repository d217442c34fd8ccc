"""Calls Slurm's commands: to submit a script, and to query the state of a job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import InputError, StageError

_COMMAND_SECONDS = 60.0

ENDED = {  # the final states of a job, in words
    "BOOT_FAIL": "a node did not start",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "it ended",
    "DEADLINE": "it reached its deadline",
    "FAILED": "its script failed",
    "NODE_FAIL": "a node failed",
    "OUT_OF_MEMORY": "memory ran out; lower micro_batch_size, or ask for more with slurm.extra: ['--mem=…']",
    "PREEMPTED": "a job with priority replaced it",
    "REVOKED": "it was revoked",
    "TIMEOUT": "a step and a checkpoint did not fit into stop_seconds before its time limit; raise slurm.stop_seconds",
    "UNKNOWN": "Slurm no longer remembers how it ended",
}


@dataclass(frozen=True)
class State:
    """The state of a job as Slurm reports it, with the reason and the exit code of its script."""

    name: str
    reason: str = ""
    exit_code: str = ""

    @property
    def active(self) -> bool:
        """Whether the job is pending, running or about to run again."""
        return self.name not in ENDED


def submit_script(script: Path) -> str:
    """Submit a script and return the id of its job.

    Raises:
        InputError: this machine has no sbatch, or sbatch rejects the job.
    """
    code, output, complaint = _slurm("sbatch", "--parsable", str(script))
    if code != 0:
        raise InputError(
            f"sbatch rejected the job (got {_last_line(complaint)!r} for {script}); correct the slurm section of the "
            "recipe, unless sbatch itself does not work on this machine"
        )
    return _last_line(output).split(";")[0]  # the name of the cluster may follow


def state_of(job_id: str) -> State:
    """Return the state of a job, ``UNKNOWN`` if Slurm no longer knows it.

    Raises:
        StageError: Slurm does not answer.
    """
    code, output, complaint = _slurm("scontrol", "show", "job", "--oneliner", job_id)
    match = re.search(r"\bJobState=(\S+) Reason=(\S+)", output)
    if code == 0 and match is not None:
        exit_code = re.search(r"\bExitCode=(\S+)", output)
        return State(match[1], "" if match[2] == "None" else match[2], exit_code[1] if exit_code else "")
    if "Invalid job id" not in complaint:
        raise StageError(
            f"Slurm does not report the state of job {job_id} (got {_last_line(complaint or output)!r}); give the same "
            f"command again when `scontrol show job {job_id}` works"
        )
    # The controller forgets a job a few minutes after its end. Not every cluster has accounting.
    code, output, _ = _slurm("sacct", "-X", "-n", "-P", "-j", job_id, "-o", "State,ExitCode")
    name, _, exit_code_text = _last_line(output).partition("|")
    return State(name.split()[0], "", exit_code_text) if code == 0 and name else State("UNKNOWN")


def _slurm(*command: str) -> tuple[int, str, str]:
    """Run one of Slurm's commands and return its exit code, stdout and stderr.

    Raises:
        InputError: this machine does not have the command.
    """
    if shutil.which(command[0]) is None:
        if command[0] == "sacct":
            return 1, "", ""
        raise InputError(
            f"`launcher: slurm` needs Slurm's commands (got no {command[0]} on this machine); run it on a login node"
        )
    # Inside an allocation SLURM_… describes that allocation, and would become options of the new job.
    kept = ("SLURM_CONF", "SLURM_CLUSTERS")
    environment = {key: value for key, value in os.environ.items() if key in kept or not key.startswith("SLURM_")}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False,
            start_new_session=True,  # Ctrl-C is for summtune; it must not cut off a submission
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, "", f"{command[0]} did not answer in {_COMMAND_SECONDS:.0f} s"
    return done.returncode, done.stdout, done.stderr


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
