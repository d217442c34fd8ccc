"""The script of a Slurm job: it runs the stages that are not complete on every node, and requeues itself."""

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
"""Exit code (EX_TEMPFAIL) of processes that were told to stop, and have saved what they had."""
NOT_REQUEUED = 76
"""Exit code of a job that saved what it had, and was not allowed to requeue itself."""

_BODY = """
run_dir={run_dir}

# Before the time limit Slurm sends USR1 here, and srun passes it on: the processes save what they have, and end.
step= told=
trap 'told=1; echo "told to stop"; [ -n "$step" ] && kill -USR1 "$step"' USR1

# Only the job that job.json names may work there; it is written right after this job was submitted.
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
# Python imports nothing from the current folder, which an empty entry in PYTHONPATH would be.
export PYTHONSAFEPATH=1
if [ -n "$PYTHONPATH" ]; then
  PYTHONPATH=$(tr -s : <<< "$PYTHONPATH" | sed 's/^://; s/:$//')
  export PYTHONPATH
fi

# The batch shell runs on the first node: the processes of all nodes meet there.
MASTER_ADDR=$(hostname)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT

# Back into the queue, where something was saved: a time limit that is too short for the start would do that for ever.
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

# SIGTERM is how Slurm announces a preemption with a grace time; after scancel the job does not run on.
preempted() {{
  scontrol show job --oneliner "$SLURM_JOB_ID" | grep -q 'JobState=RUNNING .*PreemptTime=[0-9]'
}}

# The stages of one launch, those that are not complete.
run() {{
  local stage todo=() code
  for stage in "$@"; do
    [ -f "$run_dir/stages/$stage.json" ] || todo+=("$stage")
  done
  [ "${{#todo[@]}}" = 0 ] && return 0
  [ -n "$told" ] && requeue
  {srun} \\
    {node} "$run_dir" "${{todo[@]}}" &
  step=$!
  # A signal that arrived while it was started: it is told too, and what was saved before counts.
  [ -n "$told" ] && kill -USR1 "$step"
  while wait "$step"; kill -0 "$step" 2>/dev/null; do :; done # a signal ends wait, not the step
  wait "$step" # bash remembers the code of a step that ended while a signal was handled
  code=$?
  step=
  [ "$code" = 0 ] && return 0
  # The first node that ends has srun end the others, which then may have another code than its own.
  if [ "$code" = {stopped} ] || [ -n "$told" ] || {{ [ "$code" = 143 ] && preempted; }}; then
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
