"""Shows what this machine has, and which DeepSpeed configs fit a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from summtune.base import numbers
from summtune.base.console import SafeConsole, labelled
from summtune.base.errors import InputError, RecipeError
from summtune.base.places import model_folder
from summtune.base.printing import say_lines, show_json
from summtune.base.visible import message_line
from summtune.machine.fitting import CONFIGS, GPU_COUNTS, Fit, fastest, fits, model_shape
from summtune.machine.inventory import Entry, inventory
from summtune.machine.memory import takes_bf16
from summtune.machine.model_limits import wrong_family
from summtune.recipe.keys import TrainingSettings, TrainRecipe
from summtune.recipe.loading import load_recipe
from summtune.recipe.paths import resolve_paths
from summtune.report.table import print_rows

_MARK = {True: ("✓", "green"), False: ("✗", "red")}
_DEFAULT_MODEL = "google/flan-t5-base"
_ALIGNED_FROM = 70
"""Width of a terminal from which names and values are aligned in two columns."""


def doctor(
    recipe: Path | None,
    gpu_gib: float | None,
    model: str | None,
    as_json: bool,
    console: SafeConsole,
    sets: Sequence[str] = (),
) -> None:
    """Print what this machine has and, given the memory of a GPU, which configs fit it.

    Args:
        recipe: a recipe of kind train, whose lengths and batch size are used; default: the defaults of its keys.
        gpu_gib: memory of each GPU, in GiB.
        model: used instead of the recipe's model.
        as_json: print one JSON object instead of tables.
        console: to print tables to.
        sets: ``--set`` assignments, which override keys of the recipe.

    Raises:
        InputError: the recipe or the model cannot be used.
    """
    if sets and recipe is None:
        raise InputError(f"--set needs a recipe whose key it overrides (got {sets[0]} alone); name the recipe")
    if gpu_gib is None and (recipe is not None or model is not None):
        given = recipe or model
        raise InputError(
            f"an estimate needs the memory of the GPU (got {given} alone); add for instance --gpu-memory 40"
        )
    found: list[Fit] = []
    planned = None
    if gpu_gib is not None:
        if not 0 < gpu_gib * 2**30 < math.inf:
            raise InputError(
                f"--gpu-memory must be a size in GiB (got {gpu_gib:g}); give the memory of one GPU, such as 40"
            )
        planned = _planned(recipe, model, sets)
        base_model, settings = planned
        found = fits(settings, model_shape(base_model), int(gpu_gib * 2**30), takes_bf16(settings, (), "cuda"))
    entries = list(inventory())
    if as_json:
        show_json({"machine": [asdict(entry) for entry in entries], "fits": [_row(fit) for fit in found]})
        return
    _print_entries(entries, console)
    if planned is not None and gpu_gib is not None:
        _print_fits(*planned, found, gpu_gib, console)


def _planned(path: Path | None, model: str | None, sets: Sequence[str]) -> tuple[str, TrainingSettings]:
    """Return the model and the settings of the training that is estimated."""
    if path is None:
        return model or _DEFAULT_MODEL, TrainingSettings()
    loaded = load_recipe(path, sets)
    if not isinstance(loaded.recipe, TrainRecipe):
        raise InputError(
            f"only training is estimated (got kind: {loaded.recipe.kind} in {path}); name a recipe of kind train"
        )
    # Not `check`: what this machine lacks is printed anyway, and the recipe may be meant for another machine.
    recipe, problems = resolve_paths(loaded.recipe, loaded)
    folder = None if model else model_folder(recipe.base_model)
    if folder is not None and not problems and (wrong := wrong_family(folder)):
        problems = [loaded.document.problem(("base_model",), wrong)]
    if problems:
        raise RecipeError(problems)
    say_lines(loaded.document.displaced)
    return model or recipe.base_model, recipe


def _row(fit: Fit) -> dict[str, object]:
    memory = asdict(fit.memory) | {"total": fit.memory.total}
    return {"way": fit.way, "gpus": fit.gpus, "fits": fit.fits, "bytes": memory}


def _print_entries(entries: list[Entry], console: SafeConsole) -> None:
    # On a narrow terminal, aligned names would leave too little room for the values.
    width = max(len(entry.name) for entry in entries) if console.width >= _ALIGNED_FROM else 0
    for entry in entries:
        mark = ("!" if entry.problem else " ", "red")
        console.print(Text.assemble(mark, " ", labelled(f"{entry.name:>{width}}", entry.value)), soft_wrap=True)
        if entry.problem:
            console.print(labelled(f"  {'':>{width}}", entry.problem), soft_wrap=True)


def _print_fits(
    base_model: str, settings: TrainingSettings, found: list[Fit], gib: float, console: SafeConsole
) -> None:
    recomputed = "on" if settings.gradient_checkpointing else "off"
    console.print(
        f"\n{message_line(base_model)} on GPUs of {gib:g} GiB: micro_batch_size "
        f"{settings.micro_batch_size}, sequence_len {settings.sequence_len}, "
        f"target_len {settings.target_len}, gradient_checkpointing {recomputed}",
        soft_wrap=True,
    )
    rows = []
    for way in dict.fromkeys(fit.way for fit in found):
        row = [fit for fit in found if fit.way == way]
        cells = [Text.assemble(_MARK[fit.fits], f" {numbers.size(fit.memory.total)}") for fit in row]
        name = way if way in CONFIGS else f"{way} (adapter: {settings.adapter or way})"
        host = max(fit.memory.host for fit in row)
        rows.append([Text(name), *cells, Text(numbers.size(host) if host else "–")])
    counts = (f"{count} GPU{'s' if count > 1 else ''}" for count in GPU_COUNTS)
    print_rows(console, ("deepspeed", *counts, "host memory"), rows)
    if settings.adapter is None:
        best = {count: fastest(found, count) for count in GPU_COUNTS}
        ways = ", ".join(f"{count}: {way or 'nothing fits'}" for count, way in best.items())
        console.print(f"fastest config for full fine-tuning that fits, by number of GPUs: {ways}", soft_wrap=True)
    console.print(
        "Estimated at full sequence_len; ✓ leaves 1 GiB for CUDA and 5 % for fragmentation. Halving micro_batch_size "
        "halves the activations; gradient_checkpointing: true keeps only a fraction of them.",
        soft_wrap=True,
    )
