"""Prints a plan without starting anything."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from summtune.base import numbers
from summtune.base.console import SafeConsole, labelled
from summtune.base.visible import message_line
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import command
from summtune.launchers.sbatch_script import sbatch_script
from summtune.launchers.slurm import SCRIPT
from summtune.machine.fitting import fastest, fits, room
from summtune.machine.model_shapes import shape_of
from summtune.plan.plan import Batch, launch_groups
from summtune.plan.preparation import count_pairs
from summtune.plan.resolve import Resolved


def print_commands(commands: Sequence[str], console: SafeConsole) -> None:
    """Print the command for each of several machines."""
    _line(console, "machines", "the same command on each, at the first machine's address:")
    for command_line in commands:
        _verbatim(console, command_line, 4)


def print_plan(resolved: Resolved, console: SafeConsole) -> None:
    """Print the stages, the exact commands and configs, the batch arithmetic and the memory estimate of a plan."""
    plan = resolved.plan
    console.print(Text.assemble((message_line(plan.name), "bold underline"), f"  kind: {plan.kind}"))
    _line(console, "run directory", str(resolved.run_dir))
    if plan.kind == "compare":
        _line(console, "systems", ", ".join(system.name for system in plan.systems))
        return
    _line(console, "stages", " → ".join(["data", *(stage.name for stage in plan.stages)]))
    assert plan.model is not None
    where = "" if plan.model.folder else "  (on the hub: fetched when it runs)"
    _line(console, "model", plan.model.base_model + where)
    total, trainable = plan.model.total_parameters, plan.model.trainable_parameters
    if total is not None and trainable is not None:
        _line(console, "parameters", f"trains {numbers.parameters(trainable, total)}" if trainable else f"{total:,}")
    if plan.batch is not None:
        _line(console, "batch", _batch_text(Batch.of(plan.recipe, plan.batch.processes, count_pairs(plan.recipe))))
    _line(console, "memory", _memory_text(resolved))
    for group in launch_groups(plan.stages):
        launch = group[0].launch
        if launch is None:
            continue
        names = [stage.name for stage in group]
        where = (
            f" on {launch.machines} machines (each adds its rank and where they meet)" if launch.machines > 1 else ""
        )
        _line(
            console,
            " and ".join(names),
            f"{launch.processes} × {launch.device}{where}, {launch.distribution.replace('_', ' ')}",
        )
        _verbatim(console, shlex.join(command(launch, resolved.run_dir, names)), 4)
        _verbatim(console, f"{launch.config_file}:", 4)
        _verbatim(console, to_yaml(accelerate_config(launch, resolved.run_dir)), 6)
    if plan.recipe.launcher == "slurm":
        _line(console, SCRIPT, "(for sbatch)")
        _verbatim(console, sbatch_script(plan, resolved.run_dir), 4)
    if plan.recipe.deepspeed is not None:
        _line(console, "ds_config.json", f'{plan.recipe.deepspeed} ("auto" is filled in from the recipe)')


def _batch_text(batch: Batch) -> str:
    text = (
        f"global batch {batch.global_batch:,} = {batch.micro_batch_size:,} micro × "
        f"{batch.gradient_accumulation_steps:,} accumulation × {batch.processes:,} processes"
    )
    if batch.pairs is None:
        steps = f"{batch.optimizer_steps:,}" if batch.optimizer_steps else "counted when the data has been fetched"
        return f"{text}; optimizer steps: {steps}"
    steps = f"{batch.steps_per_epoch:,} steps an epoch, {batch.optimizer_steps:,} optimizer steps"
    return f"{text}; {batch.pairs:,} pairs, {steps}"


def _memory_text(resolved: Resolved) -> str:
    memory = resolved.memory
    if memory is None:
        return "estimated for training recipes of T5 models only"
    parts = [
        f"{name} {numbers.size(part)}"
        for name, part in (
            ("weights", memory.weights),
            ("gradients", memory.gradients),
            ("optimizer", memory.optimizer),
        )
    ]
    if memory.buffers:
        parts.append(f"buffers {numbers.size(memory.buffers)}")
    parts.append(f"activations up to {numbers.size(memory.activations)}")
    text = f"about {numbers.size(memory.total)} on each device ({', '.join(parts)})"
    if resolved.bf16 and resolved.plan.recipe.bf16 == "auto" and not resolved.gpus:
        text += ", taking it that the GPUs have bf16"
    if memory.host:
        text += f"; {numbers.size(memory.host)} of host memory on each node"
    smallest = min((gpu.memory_bytes for gpu in resolved.gpus), default=None)
    if smallest is not None and memory.total > room(smallest):
        text += f"; the smallest device has {numbers.size(smallest)}: {_advice(resolved, smallest)}"
    return text


def _verbatim(console: SafeConsole, text: str, indent: int) -> None:
    for line in text.splitlines():
        console.print(f"{' ' * indent}{line}", soft_wrap=True)


def _advice(resolved: Resolved, smallest: int) -> str:
    """Return what would make a training fit a device of so many bytes."""
    plan = resolved.plan
    less = "lower micro_batch_size or set gradient_checkpointing"
    if plan.model is None or plan.batch is None or plan.model.adapter is not None:
        return less
    shape = shape_of(plan.model.base_model, Path(plan.model.folder) if plan.model.folder else None)
    if shape is None:
        return less
    found = fits(plan.recipe, shape, smallest, resolved.bf16, counts=[plan.batch.processes])
    way = fastest(found, plan.batch.processes)
    if way is None or way == "none":
        return f"{less}, or add `adapter: lora`"
    return f"it would fit with `deepspeed: ds_configs/{way}.json`, or {less}"


def _line(console: SafeConsole, name: str, text: str) -> None:
    console.print(labelled(f"{message_line(name):>15}", text), soft_wrap=True)
