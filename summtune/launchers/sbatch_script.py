"""Writes the script of a Slurm job, which runs the incomplete stages on every node and requeues itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from summtune.base.safe_python import python_command
from summtune.plan.launch import StageGroup
from summtune.recipe.sections import Slurm
from summtune.runs.run_directory import PARTIAL_PREDICTIONS

JOB_FILE = "job.json"
STOPPED = 75
"""Exit code (EX_TEMPFAIL) of processes that were asked to stop and have saved their state."""
STOPPED_FILE = "logs/job.stopped"
"""Created in the run directory by a node whose processes have stopped and saved."""
NOT_REQUEUED = 76
"""Exit code of a job that saved its state but could not requeue itself."""

_BODY = """
run_dir={run_dir}

# Before the time limit Slurm sends USR1 to this script, and srun forwards it: the processes save their state and end.
step= stopping=
trap 'stopping=1; echo "asked to stop"; [ -n "$step" ] && kill -USR1 "$step"' USR1

# Only the job that job.json names may work there; that file is written right after this job is submitted.
for _ in $(seq 60); do
  grep -qF "\\"id\\": \\"$SLURM_JOB_ID\\"" "$run_dir/{job_file}" && break
  sleep 1
done
if ! grep -qF "\\"id\\": \\"$SLURM_JOB_ID\\"" "$run_dir/{job_file}"; then
  echo "job $SLURM_JOB_ID is not the job of $run_dir; ending" >&2
  exit 1
fi
touch "$run_dir/{started}"
{setup}
# Python must import nothing from the current folder, which an empty entry in PYTHONPATH stands for.
export PYTHONSAFEPATH=1
if [ -n "$PYTHONPATH" ]; then
  PYTHONPATH=$(tr -s : <<< "$PYTHONPATH" | sed 's/^://; s/:$//')
  export PYTHONPATH
fi

# The batch shell runs on the first node: the processes of all nodes connect to it.
MASTER_ADDR=$(hostname)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT

# Requeue only if something was saved: with too short a time limit the job would otherwise be requeued forever.
requeue() {{
  [ -n "$(find "$run_dir"/checkpoints "$run_dir"/stages "$run_dir"/{partial} \\
    -newer "$run_dir/{started}" -print -quit 2>/dev/null)" ] || return
  echo "stopped, and saved; requeueing"
  scontrol requeue "$SLURM_JOB_ID" || {{
    echo "Slurm does not let job $SLURM_JOB_ID requeue itself" >&2
    exit {not_requeued}
  }}
  exit {stopped}
}}

# Slurm announces a preemption with a grace time by SIGTERM; after scancel the job is not RUNNING.
preempted() {{
  scontrol show job --oneliner "$SLURM_JOB_ID" | grep -q 'JobState=RUNNING .*PreemptTime=[0-9]'
}}

# Run those stages of one launch that are not complete.
run() {{
  local stage todo=() code
  for stage in "$@"; do
    [ -f "$run_dir/stages/$stage.json" ] || todo+=("$stage")
  done
  [ "${{#todo[@]}}" = 0 ] && return 0
  [ -n "$stopping" ] && requeue
  rm -f "$run_dir/{stopped_file}"
  {srun} \\
    {node} "$run_dir" "${{todo[@]}}" &
  step=$!
  # For a signal that arrived before the step existed; what was saved before counts.
  [ -n "$stopping" ] && kill -USR1 "$step"
  while wait "$step"; kill -0 "$step" 2>/dev/null; do :; done # a signal ends wait, not the step
  wait "$step" # bash remembers the code of a step that ended while a signal was handled
  code=$?
  step=
  [ "$code" = 0 ] && return 0
  # When the first node ends, srun ends the others, and the step may have their exit code.
  if [ "$code" = {stopped} ] || [ -f "$run_dir/{stopped_file}" ] || [ -n "$stopping" ] ||
    {{ [ "$code" = 143 ] && preempted; }}; then
    requeue
  fi
  exit "$code"
}}

{runs}
"""


def sbatch_script(name: str, slurm: Slurm, stages: Sequence[StageGroup], run_dir: Path) -> str:
    """Return the text of ``job.sbatch``.

    Args:
        name: of the recipe.
        slurm: what is asked of Slurm.
        stages: of the run; those that have no launch are left to the command.
        run_dir: absolute, on a file system that the nodes share.
    """
    srun = f"srun --nodes={slurm.nodes} --ntasks={slurm.nodes} --ntasks-per-node=1 --mpi=none --kill-on-bad-exit=1"
    if slurm.cpus_per_node is not None:
        srun += f" --cpus-per-task={slurm.cpus_per_node}"  # srun does not take it from sbatch
    body = _BODY.format(
        job_file=JOB_FILE,
        run_dir=shlex.quote(str(run_dir)),
        setup="".join(f"\n{line}" for line in slurm.setup) + ("\n" if slurm.setup else ""),
        srun=srun,
        node=shlex.join(python_command("summtune.launchers.slurm_node")),
        stopped=STOPPED,
        stopped_file=STOPPED_FILE,
        not_requeued=NOT_REQUEUED,
        partial=PARTIAL_PREDICTIONS,
        started="logs/job.started",
        runs="\n".join(f"run {' '.join(group.names)}" for group in stages if group.launch is not None),
    )
    head = "#!/bin/bash\n# Written by `summtune run`, which submits it and remembers the job's id in job.json.\n"
    return head + "".join(f"#SBATCH {line}\n" for line in _directives(name, slurm, run_dir)) + body


def _directives(name: str, slurm: Slurm, run_dir: Path) -> list[str]:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    log = str(run_dir / "logs" / "slurm-").replace("%", "%%")
    lines = [
        f"--job-name=summtune-{name}",
        f'--output="{log}%j.log"',
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{slurm.stop_seconds}",
        f"--nodes={slurm.nodes}",
        "--ntasks-per-node=1",
    ]
    given = {
        "partition": slurm.partition,
        "account": slurm.account,
        "time": slurm.time,
        "constraint": f'"{slurm.constraint}"' if slurm.constraint else None,
        "gres": ":".join(filter(None, ("gpu", slurm.gpu_type, str(n)))) if (n := slurm.gpus_per_node) else None,
        "cpus-per-task": slurm.cpus_per_node,
    }
    return lines + [f"--{option}={value}" for option, value in given.items() if value is not None] + slurm.extra
