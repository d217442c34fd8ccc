"""Prints the plan of a run without starting anything."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.text import Text

from summtune.base import numbers
from summtune.base.console import SafeConsole, labelled
from summtune.base.visible import message_line
from summtune.commands.compared_outputs import is_scored
from summtune.commands.endpoint import estimated
from summtune.commands.reuse import reusable, shown
from summtune.generation.endpoint.estimate import Estimate
from summtune.generation.vllm.command import serve_command, served_by
from summtune.generation.vllm.executable import VARIABLE
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import command
from summtune.launchers.sbatch_script import sbatch_script
from summtune.launchers.slurm import SCRIPT
from summtune.machine.fitting import fastest, fits, room
from summtune.machine.memory import takes_bf16
from summtune.machine.model_shapes import shape_of
from summtune.plan.draft import CompareDraft, Draft, EndpointDraft, LocalDraft, RunDraft, ScoredDraft, TrainDraft
from summtune.plan.launch import Batch, global_batch
from summtune.plan.preparation import count_pairs
from summtune.recipe.keys import TrainRecipe
from summtune.recipe.sections import COLUMN_KEYS, Slurm
from summtune.runs.statistics import Precision


def print_commands(commands: Sequence[str], console: SafeConsole) -> None:
    """Print the command for each of several machines."""
    _line(console, "machines", "run the same command on each, with the address of the first machine:")
    for command_line in commands:
        _verbatim(console, command_line, 4)


def print_comparison(draft: CompareDraft, console: SafeConsole) -> None:
    """Print the directory and the systems of a comparison."""
    _head(draft, console)
    _line(console, "systems", numbers.listed(name for name, _ in draft.parts))


def print_scoring(draft: ScoredDraft, console: SafeConsole, fresh: bool = False) -> None:
    """Print which outputs a comparison scores, with which dialogues and references.

    Args:
        draft: of what to score.
        console: to print to.
        fresh: whether it would be scored again.
    """
    entry, like = draft.outputs.entry, draft.outputs.like
    console.print(Text.assemble((message_line(draft.outputs.name), "bold underline"), "  kind: scored"))
    _line(console, "run directory", str(draft.run_dir))
    _line(console, "stages", "already complete" if not fresh and is_scored(draft) else "evaluate → report")
    _line(console, "predictions", entry.predictions)
    columns = [f"{key} {name}" for key in COLUMN_KEYS if (name := getattr(entry, key)) is not None]
    if columns:
        _line(console, "columns", ", ".join(columns))
    hub = f"the dialogues of {', '.join(source.path for source in like.test_datasets)}, matched when it runs"
    _line(console, "scored on", "; ".join(draft.outputs.matched) or hub)


def print_plan(draft: RunDraft, console: SafeConsole, fresh: bool = False) -> None:
    """Print the stages of a run, its exact commands and configs, batch arithmetic and memory estimate.

    Args:
        draft: of the run.
        console: to print to.
        fresh: whether the run would reuse nothing.
    """
    _head(draft, console)
    _line(console, "stages", " → ".join(["data", *(name for group in draft.stages for name in group.names)]))
    for stage, source in ({} if fresh else reusable(draft)).items():
        _line(console, "reuse", f"{stage} from {shown(source)}")
    if isinstance(draft, EndpointDraft):
        print_endpoint(draft, console)
    else:
        _print_local(draft, console)


def _print_local(draft: LocalDraft, console: SafeConsole) -> None:
    recipe = draft.recipe
    where = "" if draft.model_folder else "  (on the hub: downloaded when it runs)"
    _line(console, "model", recipe.base_model + where)
    if draft.parameters is not None:
        total, trainable = draft.parameters.total, draft.parameters.trainable
        _line(console, "parameters", f"trains {numbers.parameters(trainable, total)}" if trainable else f"{total:,}")
    if isinstance(draft, TrainDraft):
        _line(console, "validation", _validation_text(draft.recipe))
        _line(console, "batch", _batch_text(draft))
    _line(console, "memory", _memory_text(draft))
    for group in draft.stages:
        launch = group.launch
        if launch is None:
            continue
        where = (
            f" on {launch.machines} machines (each adds its rank and the address of the first)"
            if launch.machines > 1
            else ""
        )
        _line(
            console,
            " and ".join(group.names),
            f"{launch.processes} × {launch.device}{where}, {launch.distribution.replace('_', ' ')}",
        )
        _verbatim(console, shlex.join(command(launch, draft.run_dir, group.names)), 4)
        _verbatim(console, f"{launch.config_file}:", 4)
        _verbatim(console, to_yaml(accelerate_config(launch, draft.run_dir)), 6)
    if recipe.generation.engine == "vllm":
        _print_server(draft, console)
    if recipe.launcher == "slurm":
        _line(console, SCRIPT, "(for sbatch)")
        _verbatim(console, sbatch_script(draft.name, recipe.slurm or Slurm(), draft.stages, draft.run_dir), 4)
    if isinstance(recipe, TrainRecipe) and recipe.deepspeed is not None:
        _line(console, "ds_config.json", f'{recipe.deepspeed} ("auto" is filled in from the recipe)')


def _print_server(draft: LocalDraft, console: SafeConsole) -> None:
    """Print the command of the server that the predict stage starts."""
    recipe, launch = draft.recipe, draft.predict
    served = served_by(recipe, str(draft.model_folder or recipe.base_model), draft.run_dir / "model")
    devices = launch.devices_per_process
    precision: Precision = "bf16" if takes_bf16(recipe, draft.gpus, launch.device) else "fp32"
    over = f"over {devices} GPUs" if devices > 1 else f"on one {launch.device} device"
    _line(console, "vLLM server", f"in the predict stage, {over}")
    started = serve_command(f"${VARIABLE}", recipe, served, precision=precision, devices=devices, port="PORT")
    _verbatim(console, " ".join([started[0], shlex.join(started[1:])]), 4)


def print_endpoint(draft: EndpointDraft, console: SafeConsole) -> None:
    """Print the server of a run, its limits, and about what its answers cost."""
    endpoint = draft.recipe.endpoint
    _line(console, "endpoint", f"{endpoint.model} at {endpoint.url}")
    key = "none" if endpoint.api_key_env is None else f"from the environment variable {endpoint.api_key_env}"
    _line(console, "API key", key)
    limits = [f"{numbers.count(endpoint.concurrency)} requests at the same time"]
    limits += [
        f"{numbers.count(limit)} {what} a minute"
        for limit, what in ((endpoint.requests_per_minute, "requests"), (endpoint.tokens_per_minute, "tokens"))
        if limit is not None
    ]
    if endpoint.max_cost is not None and endpoint.price is not None:
        limits.append(f"{numbers.money(endpoint.max_cost, endpoint.price.currency)} in all")
    _line(console, "limits", ", ".join(limits))
    found = estimated(draft)
    _line(console, "estimate", "known once the data can be downloaded" if found is None else _estimate_text(found))


def _estimate_text(found: Estimate) -> str:
    text = (
        f"{numbers.counted(found.prompts, 'prompt')} of about {numbers.count(found.prompt_tokens)} tokens in all (a "
        f"token for four characters), up to {numbers.count(found.new_tokens_at_most)} generated"
    )
    if found.cost is None or found.cost_at_most is None or found.currency is None:
        return f"{text}; set endpoint.price for the money"
    about, most = (numbers.money(cost, found.currency) for cost in (found.cost, found.cost_at_most))
    return f"{text}: about {about}, at most {most} without retries"


def _head(draft: Draft, console: SafeConsole) -> None:
    console.print(Text.assemble((message_line(draft.name), "bold underline"), f"  kind: {draft.recipe.kind}"))
    _line(console, "run directory", str(draft.run_dir))


def _validation_text(recipe: TrainRecipe) -> str:
    if recipe.val_datasets is not None:
        splits = (f"{each.path}{f', split {each.split}' if each.split else ''}" for each in recipe.val_datasets)
        return "; ".join(splits)
    size = recipe.val_set_size
    if not size:
        return "none: the last checkpoint is used"
    return f"{size:g} dialogues of datasets" if size >= 1 else f"{size:.0%} of datasets"


def _batch_text(draft: TrainDraft) -> str:
    recipe, processes = draft.recipe, draft.train.processes
    text = (
        f"global batch {global_batch(recipe, processes):,} = {recipe.micro_batch_size:,} micro × "
        f"{recipe.gradient_accumulation_steps:,} accumulation × {processes:,} process{'es' if processes > 1 else ''}"
    )
    pairs = count_pairs(recipe)
    if pairs is None:
        steps = f"{recipe.max_steps:,}" if recipe.max_steps else "known once the data is downloaded"
        return f"{text}; optimizer steps: {steps}"
    batch = Batch.of(recipe, processes, pairs)
    steps = f"{batch.steps_per_epoch:,} steps per epoch, {batch.optimizer_steps:,} optimizer steps"
    return f"{text}; {batch.pairs:,} pairs, {steps}"


def _memory_text(draft: LocalDraft) -> str:
    memory = draft.memory if isinstance(draft, TrainDraft) else None
    if not isinstance(draft, TrainDraft):
        return "estimated for training recipes only"
    if memory is None:
        return "not estimated: the sizes of this model are not known"
    parts = [
        f"{name} {numbers.size(part)}"
        for name, part in (
            ("weights", memory.weights),
            ("gradients", memory.gradients),
            ("optimizer", memory.optimizer),
        )
        if part  # gradients may take no room beyond that of the activations
    ]
    if memory.buffers:
        parts.append(f"buffers {numbers.size(memory.buffers)}")
    parts.append(f"activations up to {numbers.size(memory.activations)}")
    text = f"about {numbers.size(memory.total)} on each device ({', '.join(parts)})"
    if draft.bf16 and draft.recipe.bf16 == "auto" and not draft.gpus:
        text += ", assuming that the GPUs support bf16"
    if draft.train.device == "cpu":
        text += (
            "; a process on a CPU also holds about 0.7 GiB of Python and its libraries, and with batches of many "
            "lengths up to half as much again in holes of its heap"
        )
    if memory.host:
        text += f"; {numbers.size(memory.host)} of host memory on each node"
    smallest = min((gpu.memory_bytes for gpu in draft.gpus), default=None)
    if smallest is not None and memory.total > room(smallest):
        text += f"; the smallest device has {numbers.size(smallest)}: {_advice(draft, smallest)}"
    return text


def _verbatim(console: SafeConsole, text: str, indent: int) -> None:
    for line in text.splitlines():
        console.print(f"{' ' * indent}{line}", soft_wrap=True)


def _advice(draft: TrainDraft, smallest: int) -> str:
    """Return what would make a training fit a device with ``smallest`` bytes."""
    recipe, processes = draft.recipe, draft.train.processes
    less = "lower micro_batch_size or set gradient_checkpointing"
    shape = shape_of(recipe.base_model, draft.model_folder)
    if shape is None or draft.adapter is not None:
        return less
    found = fits(recipe, shape, smallest, draft.bf16, counts=[processes])
    way = fastest(found, processes)
    if way is None or way == "none":
        return f"{less}, or add `adapter: lora`"
    return f"it would fit with `deepspeed: ds_configs/{way}.json`, or {less}"


def _line(console: SafeConsole, name: str, text: str) -> None:
    console.print(labelled(f"{message_line(name):>15}", text), soft_wrap=True)
