"""Rules for the launching keys: which contradict each other, and which would break a Slurm job."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator

from summtune.recipe.document import KeyPath
from summtune.recipe.keys import LocalRecipe
from summtune.recipe.sections import Slurm

# The formats that sbatch accepts: minutes, minutes:seconds, hours:minutes:seconds, and days before hours.
_SLURM_TIME = re.compile(r"#(:#){0,2}|#-#(:#){0,2}|unlimited|infinite".replace("#", "[0-9]{1,9}"), re.IGNORECASE)
# These become lines of the job's script: a line end would start a command, a quote or blank another option.
_WORDS = ("partition", "account", "gpu_type")
_NOT_IN_A_WORD = re.compile(r"[\s\"'\\#\x00-\x1f\x7f-\x9f]")
_NOT_IN_QUOTES = re.compile(r"[\"\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_ON_A_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_GPUS = "set slurm.gpus_per_node (and gpu_type): without it, stages run on the CPU"
_LOGS = "remove it: the job's output is written to the run directory"
_REQUEUE = "remove it: a job requeues itself after it has saved a checkpoint"
_TASKS = "remove it: each node runs one task, which starts the processes"
# Options of sbatch that the job script sets itself, and what to do instead of setting them in `extra`.
_EXTRA = {
    "--account": "set slurm.account", "-A": "set slurm.account",
    "--constraint": "set slurm.constraint", "-C": "set slurm.constraint",
    "--cpus-per-task": "set slurm.cpus_per_node", "-c": "set slurm.cpus_per_node",
    "--nodes": "set slurm.nodes", "-N": "set slurm.nodes",
    "--partition": "set slurm.partition", "-p": "set slurm.partition",
    "--time": "set slurm.time", "-t": "set slurm.time",
    "--signal": "set slurm.stop_seconds",
    "--gpus": _GPUS, "-G": _GPUS,
    "--ntasks": _TASKS, "-n": _TASKS,
    "--requeue": _REQUEUE, "--no-requeue": _REQUEUE,
    "--open-mode": _LOGS, "--output": _LOGS, "-o": _LOGS, "--error": _LOGS, "-e": _LOGS,
    "--array": "remove it: a run is one job", "-a": "remove it: a run is one job",
}  # fmt: skip
# Prefixes of --ntasks-per-node, --gpus-per-task and similar options.
_FAMILIES = ("--ntasks", "--gpus")


def check_launching(recipe: LocalRecipe, wrong: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with the launching keys.

    Args:
        recipe: the values, defaults filled in.
        wrong: keys that have an invalid value; rules that depend on them are skipped.
    """
    if recipe.slurm is not None:
        yield from _time(recipe.slurm)
        yield from _directives(recipe.slurm)
        for index, entry in enumerate(recipe.slurm.extra):
            advice = _advice_against(entry, recipe.slurm)
            if advice is not None:
                yield (
                    ("slurm", "extra", index),
                    f"slurm.extra must not contain this (got {entry!r}); {advice}",
                )
    if not {"launcher", "slurm", "num_machines", "num_processes"} & set(wrong):
        yield from _processes(recipe)


def _time(slurm: Slurm) -> Iterator[tuple[KeyPath, str]]:
    if slurm.time is None:
        return
    if not _SLURM_TIME.fullmatch(slurm.time):
        yield (
            ("slurm", "time"),
            f"slurm.time is not a valid time limit (got {slurm.time!r:.60}); write '12:00:00' or '3-00'",
        )
        return
    seconds = seconds_of(slurm.time)
    if seconds is not None and seconds <= slurm.stop_seconds:
        yield (
            ("slurm", "time"),
            "slurm.time must be longer than stop_seconds, or the job is stopped before it starts (got "
            f"{slurm.time!r} with stop_seconds: {slurm.stop_seconds}); write hours, minutes and seconds as '12:00:00'",
        )


def _directives(slurm: Slurm) -> Iterator[tuple[KeyPath, str]]:
    """Yield the values that would break out of their line in the job's script."""
    for key in _WORDS:
        value = getattr(slurm, key)
        if value is not None and (not value or _NOT_IN_A_WORD.search(value)):
            yield (
                ("slurm", key),
                f"slurm.{key} must be one word (got {value!r}); write the name as the cluster knows it",
            )
    if slurm.constraint is not None and _NOT_IN_QUOTES.search(slurm.constraint):
        yield (
            ("slurm", "constraint"),
            f"slurm.constraint must be one line without quotes or backslashes (got {slurm.constraint!r}); remove them",
        )
    for index, entry in enumerate(slurm.extra):
        if _NOT_ON_A_LINE.search(entry):
            yield (
                ("slurm", "extra", index),
                f"slurm.extra takes one option per item (got {entry!r}); write each as a separate item, and shell "
                "lines in slurm.setup",
            )


def unfit_for_script(run_dir: str) -> str | None:
    """Return why the path of a run directory cannot be written on one line of the job's script; None if it can."""
    if not _NOT_IN_QUOTES.search(run_dir):
        return None
    return (
        "the run directory of a Slurm job must not have quotes, backslashes or control characters in its path (got "
        f"{run_dir}); choose another output directory"
    )


def seconds_of(limit: str) -> int | None:
    """Return a time limit that sbatch accepts, in seconds; None if it sets no limit."""
    days, dash, clock = limit.rpartition("-")
    if not clock[0].isdecimal():
        return None
    parts = [int(part) for part in clock.split(":")]
    # After days the hours come first; without, a single number is minutes, and two are minutes and seconds.
    parts = [0] * (0 if dash or len(parts) == 3 else 1) + parts
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    return total or None  # 0 means no limit


def _advice_against(entry: str, slurm: Slurm) -> str | None:
    """Return what to do instead of an entry of ``extra`` that would break the job, or None if it is harmless."""
    if entry.lstrip().startswith("#"):
        return "write the option without #SBATCH"
    try:
        words = shlex.split(entry)
    except ValueError:  # an unclosed quote: sbatch reports it
        words = entry.split()
    for word in words:
        option = word.partition("=")[0] if word.startswith("--") else word[:2]
        family = next((known for known in _FAMILIES if option.startswith(f"{known}-")), option)
        if family in _EXTRA:
            return _EXTRA[family]
        if option == "--gres" and ("gpu" in entry or slurm.gpus_per_node):  # a second --gres replaces the first
            return _GPUS
    return None


def _processes(recipe: LocalRecipe) -> Iterator[tuple[KeyPath, str]]:
    """Yield why the processes cannot be divided over the machines; rules about actual devices are checked at launch."""
    given = recipe.num_processes
    if given is None:
        return
    slurm = recipe.slurm or Slurm()
    machines, word = (slurm.nodes, "nodes") if recipe.launcher == "slurm" else (recipe.num_machines, "machines")
    gpus = slurm.gpus_per_node if recipe.launcher == "slurm" else None
    if gpus and given > machines * gpus:
        yield (
            ("num_processes",),
            f"num_processes exceeds the GPUs that the Slurm job requests (got {given}, {machines} × {gpus}); "
            "remove it for one process per GPU, or raise slurm.nodes or slurm.gpus_per_node",
        )
    elif given % machines:
        yield (
            ("num_processes",),
            f"num_processes is the total, and must divide evenly over the {word} (got {given} for {machines} {word}); "
            f"make it a multiple of {machines}",
        )
