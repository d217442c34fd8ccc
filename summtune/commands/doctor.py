"""Prints what the machine has, and which way of training fits a GPU."""

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
from summtune.machine.inventory import Finding, inventory
from summtune.machine.memory import takes_bf16
from summtune.machine.model_limits import wrong_family
from summtune.recipe.keys import TrainingSettings, TrainRecipe
from summtune.recipe.loading import load_recipe
from summtune.recipe.paths import resolve_paths
from summtune.report.table import print_rows

_MARK = {True: ("✓", "green"), False: ("✗", "red")}
_DEFAULT_MODEL = "google/flan-t5-base"
_ALIGNED_FROM = 70
"""Columns of a terminal from which on the facts stand in two columns."""


def doctor(
    recipe: Path | None,
    gpu_gib: float | None,
    model: str | None,
    as_json: bool,
    console: SafeConsole,
    sets: Sequence[str] = (),
) -> None:
    """Print the facts about this machine, and with a GPU's memory what would fit it.

    Args:
        recipe: a recipe of kind train whose lengths and batches count; default: the keys' defaults.
        gpu_gib: memory of each GPU, in GiB.
        model: instead of the recipe's.
        as_json: print one JSON object instead.
        console: where the tables go.
        sets: assignments that override keys of the recipe.

    Raises:
        InputError: the recipe or the model cannot be used.
    """
    if sets and recipe is None:
        raise InputError(f"--set overrides a key of a recipe (got {sets[0]} without one); name the recipe")
    if gpu_gib is None and (recipe is not None or model is not None):
        given = recipe or model
        raise InputError(f"whether it fits depends on the GPU (got {given} alone); add --gpu-memory 40")
    found: list[Fit] = []
    planned = None
    if gpu_gib is not None:
        if not 0 < gpu_gib * 2**30 < math.inf:
            raise InputError(f"--gpu-memory is a size in GiB (got {gpu_gib:g}); give that of one GPU, such as 40")
        planned = _planned(recipe, model, sets)
        base_model, settings = planned
        found = fits(settings, model_shape(base_model), int(gpu_gib * 2**30), takes_bf16(settings, (), "cuda"))
    said = list(inventory())
    if as_json:
        show_json({"machine": [asdict(fact) for fact in said], "fits": [_row(fit) for fit in found]})
        return
    _print_findings(said, console)
    if planned is not None and gpu_gib is not None:
        _print_fits(*planned, found, gpu_gib, console)


def _planned(path: Path | None, model: str | None, sets: Sequence[str]) -> tuple[str, TrainingSettings]:
    """Return the model and the settings of the training that is estimated."""
    if path is None:
        return model or _DEFAULT_MODEL, TrainingSettings()
    loaded = load_recipe(path, sets)
    if not isinstance(loaded.recipe, TrainRecipe):
        raise InputError(
            f"only a training is estimated (got kind: {loaded.recipe.kind} in {path}); name a recipe of kind train"
        )
    # Not `check`: what this machine lacks is among the facts, and the recipe may be for another one.
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


def _print_findings(said: list[Finding], console: SafeConsole) -> None:
    # On a narrow terminal the values need the room in which the names would be aligned.
    width = max(len(fact.name) for fact in said) if console.width >= _ALIGNED_FROM else 0
    for fact in said:
        mark = ("!" if fact.problem else " ", "red")
        console.print(Text.assemble(mark, " ", labelled(f"{fact.name:>{width}}", fact.value)), soft_wrap=True)
        if fact.problem:
            console.print(labelled(f"  {'':>{width}}", fact.problem), soft_wrap=True)


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
        said = ", ".join(f"{count}: {way or 'nothing fits'}" for count, way in best.items())
        console.print(f"all weights, the fastest that fits, by number of GPUs: {said}", soft_wrap=True)
    console.print(
        "Estimated at full sequence_len; a ✓ leaves 1 GiB for CUDA and 5 % for fragments. Half of micro_batch_size "
        "halves the activations, gradient_checkpointing: true keeps a fraction of them.",
        soft_wrap=True,
    )
