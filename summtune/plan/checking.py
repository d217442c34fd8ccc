"""Checks a recipe against everything that it names: its paths, this machine, and the recipes that it compares."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from typing_extensions import assert_never

from summtune.base.errors import InputError, Problem, RecipeError
from summtune.base.files import irregular_files, is_file
from summtune.base.places import is_local, model_folder
from summtune.deepspeed.configs import parse_ds_config
from summtune.deepspeed.rules import contradictions, wrong_with_config
from summtune.deepspeed.zero_memory import offloads
from summtune.generation.vllm.executable import vllm_executable
from summtune.machine.compiling import missing_for_compiling
from summtune.machine.devices import Gpu, visible_gpus
from summtune.plan.models import problems_of_model
from summtune.plan.outputs import CheckedOutputs, check_outputs
from summtune.plan.prompt_format import problems_of_format
from summtune.prompts.templates import check_template
from summtune.recipe.adapters import quantization_of
from summtune.recipe.document import Document, KeyPath
from summtune.recipe.keys import (
    FORMS_OF,
    CompareRecipe,
    EndpointRecipe,
    LocalRecipe,
    PromptRecipe,
    RunRecipe,
    TrainRecipe,
)
from summtune.recipe.launching_rules import unfit_for_script
from summtune.recipe.loading import LoadedRecipe, load_document, load_recipe
from summtune.recipe.overriding import Overrides, Setting
from summtune.recipe.paths import recipe_path, resolve_paths
from summtune.recipe.rules import KeyProblem, system_name
from summtune.recipe.sections import ComparedPredictions, ComparedRecipe
from summtune.recipe.yaml_reader import read_yaml_file


@dataclass(frozen=True)
class CheckedRun:
    """A prompt or train recipe without problems.

    Args:
        loaded: the file, for the positions of its keys.
        recipe: the values, paths resolved.
        deepspeed: the content of its DeepSpeed config; None without one.
        gpus: the visible devices of this machine; empty for a recipe that runs elsewhere.
    """

    loaded: LoadedRecipe
    recipe: RunRecipe
    deepspeed: dict[str, Any] | None
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class CheckedComparison:
    """A comparison without problems, in it or in the recipes that it compares.

    Args:
        loaded: the file, for the positions of its keys.
        recipe: the values, paths resolved.
        parts: the name of each system, and its recipe with the overrides applied or its file of outputs.
    """

    loaded: LoadedRecipe
    recipe: CompareRecipe
    parts: tuple[tuple[str, CheckedRun | CheckedOutputs], ...]


Checked: TypeAlias = CheckedRun | CheckedComparison


def check(
    path: Path, sets: Sequence[str | Setting] = (), document: Document | None = None, weights: bool = True
) -> Checked:
    """Return a recipe without problems; its file, and that of each recipe that it compares, is read once.

    Args:
        path: the file.
        sets: ``--set`` assignments.
        document: the content of the recipe, if it does not come from a file.
        weights: whether local models need theirs.

    Raises:
        InputError: it cannot be read.
        RecipeError: it has problems; contains all of them.
    """
    document = document or read_yaml_file(path)
    own, routed = _divided(document, [Setting.parse(each) if isinstance(each, str) else each for each in sets])
    loaded = load_document(document, path, own)
    match loaded.recipe:
        case CompareRecipe():
            return _check_comparison(loaded, loaded.recipe, routed, weights)
        case PromptRecipe() | EndpointRecipe() | TrainRecipe():
            return _check_run(loaded, loaded.recipe, weights)
    assert_never(loaded.recipe)


def _divided(document: Document, sets: Sequence[Setting]) -> tuple[list[Setting], list[Setting]]:
    """Return the assignments to keys of the recipe itself, and those that a comparison passes on to its recipes."""
    if not (isinstance(document.value, dict) and document.value.get("kind") == "compare"):
        return list(sets), []
    passed_on = [each for each in sets if "compare" not in FORMS_OF.get(each.key.split(".")[0], ("compare",))]
    return [each for each in sets if each not in passed_on], passed_on


def _check_run(loaded: LoadedRecipe, recipe: RunRecipe, weights: bool) -> CheckedRun:
    recipe, problems = resolve_paths(recipe, loaded)
    gpus = () if recipe.launcher == "slurm" else tuple(visible_gpus())  # a login node's GPUs do not train
    found: list[KeyProblem] = list(_problems_of_template(recipe))
    if isinstance(recipe, EndpointRecipe):
        found += _missing_openai(("endpoint",), "an endpoint")
    else:
        readable = not found
        found += [
            *_problems(recipe, weights, readable),
            *_missing_bitsandbytes(recipe),
            *_too_many_processes(recipe, len(gpus)),
            *_problems_of_vllm(recipe, len(gpus)),
        ]
    config = None
    if isinstance(recipe, TrainRecipe):
        config, wrong = _ds_config(recipe)
        found += [*_problems_of_training(recipe), *wrong]
    problems += [loaded.document.problem(path, message) for path, message in found]
    if problems:
        raise RecipeError(sorted(problems, key=lambda problem: (problem.line == 0, problem.line, problem.column)))
    return CheckedRun(loaded, recipe, config, gpus)


def _check_comparison(
    loaded: LoadedRecipe, recipe: CompareRecipe, sets: Sequence[Setting], weights: bool
) -> CheckedComparison:
    recipe, problems = resolve_paths(recipe, loaded)
    if problems:
        raise RecipeError(problems)
    runs: dict[int, CheckedRun] = {}
    for index, entry in enumerate(recipe.recipes):
        if isinstance(entry, ComparedPredictions):
            continue
        try:
            runs[index] = _part(loaded, recipe, entry, sets, weights)
        except RecipeError as error:
            problems += error.problems
        except InputError as error:
            problems.append(loaded.document.problem(("recipes", index), str(error)))
    if not problems:  # which keys a recipe reads is only known if it is valid
        problems += _unread_overrides(loaded, recipe, sets, list(runs.values()))
    like = None if problems else next(iter(runs.values())).recipe
    outputs: dict[int, CheckedOutputs] = {}
    for index, entry in enumerate(recipe.recipes):
        if isinstance(entry, ComparedPredictions):
            try:
                fitting = check_outputs(system_name(entry), entry, like)
                outputs |= {} if fitting is None else {index: fitting}
            except InputError as error:
                problems.append(loaded.document.problem(("recipes", index, "predictions"), str(error)))
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    checked = runs | outputs
    names = map(system_name, recipe.recipes)
    return CheckedComparison(loaded, recipe, tuple((name, checked[at]) for at, name in enumerate(names)))


def _part(
    comparison: LoadedRecipe,
    recipe: CompareRecipe,
    entry: str | ComparedRecipe,
    sets: Sequence[Setting],
    weights: bool,
) -> CheckedRun:
    """Return one of the compared recipes, with the overrides of the comparison applied."""
    folder = comparison.path.parent
    path = recipe_path(entry.recipe if isinstance(entry, ComparedRecipe) else entry, folder)
    assert path is not None, "resolve_paths found it"
    own = entry.overrides if isinstance(entry, ComparedRecipe) else {}
    loaded = load_recipe(path, (), Overrides(own, recipe.overrides, folder, sets))
    if isinstance(loaded.recipe, CompareRecipe):
        raise InputError(
            f"a comparison cannot contain another comparison (got {path.name}); list the recipes of that one here"
        )
    return _check_run(loaded, loaded.recipe, weights)


def _problems_of_template(recipe: RunRecipe) -> Iterator[KeyProblem]:
    try:
        check_template(recipe.prompt_template)
    except InputError as error:
        yield ("prompt_template",), str(error)


def _missing_openai(key: KeyPath, what: str) -> Iterator[KeyProblem]:
    """Yield the problem of a server without the package that sends the requests."""
    if importlib.util.find_spec("openai") is None:
        yield key, f"{what} needs the package openai (got none installed); pip install 'summtune[endpoint]'"


def _problems_of_vllm(recipe: LocalRecipe, gpus: int) -> Iterator[KeyProblem]:
    """Yield what a generation with vLLM lacks; a Slurm job looks for the executable itself, after slurm.setup."""
    if recipe.generation.engine != "vllm":
        return
    key: KeyPath = ("generation", "engine")
    yield from _missing_openai(key, "`engine: vllm`")
    if recipe.launcher == "local":
        try:
            vllm_executable(os.environ)
        except InputError as error:
            yield key, str(error)
    devices = gpus if recipe.slurm is None else recipe.slurm.gpus_per_node
    if isinstance(recipe, TrainRecipe) and recipe.adapter == "lora" and recipe.bf16 is False and devices:
        yield (
            ("bf16",),
            "vLLM computes LoRA in bf16 on GPUs (got bf16: false with generation.engine: vllm); remove one of the two",
        )


def _problems(recipe: LocalRecipe, weights: bool, readable: bool) -> Iterator[KeyProblem]:
    """Yield the problems of a recipe with a model on this machine that depend on the machine and its files.

    Args:
        recipe: paths resolved.
        weights: whether local models need theirs.
        readable: whether the prompt template can be used.
    """
    if recipe.launcher == "slurm" and recipe.output_dir and (unfit := unfit_for_script(recipe.output_dir)):
        yield ("output_dir",), unfit
    folder = model_folder(recipe.base_model)
    # resolve_paths reports a missing config.json, and files that nobody can read to the end.
    if folder is None or (is_file(folder / "config.json") and not irregular_files(folder)):
        found = problems_of_files(recipe, folder, weights) if readable else problems_of_model(recipe, folder, weights)
        for key, message in found:
            yield tuple(key.split(".")), message


def problems_of_files(recipe: LocalRecipe, folder: Path | None, weights: bool = True) -> list[tuple[str, str]]:
    """Return what a recipe asks that its model, or the model's chat template, cannot do: the key, and why.

    Args:
        recipe: paths resolved, with a prompt template that can be used.
        folder: of the model's files; None if it is not downloaded yet.
        weights: whether the model needs them; without, its config and tokenizer are enough.
    """
    found = problems_of_model(recipe, folder, weights)
    if folder is None or any(key == "base_model" for key, _ in found):
        return found
    return [*found, *problems_of_format(recipe, folder)]


def _too_many_processes(recipe: LocalRecipe, devices: int) -> Iterator[KeyProblem]:
    """Yield the problem of a recipe that asks for more processes than devices, if this machine has any."""
    given, machines = recipe.num_processes, recipe.num_machines
    if given is not None and devices and given > machines * devices:
        where = "visible" if machines == 1 else f"on {machines} machines with {devices} each"
        yield (
            ("num_processes",),
            f"num_processes exceeds the visible devices (got {given}, {machines * devices} {where}); set it to "
            f"{machines * devices}, or remove it to use all of them",
        )


def _missing_bitsandbytes(recipe: LocalRecipe) -> Iterator[KeyProblem]:
    """Yield the problem of weights of four bits without the package that stores and multiplies them."""
    if quantization_of(recipe) is not None and importlib.util.find_spec("bitsandbytes") is None:
        key = "load_in_4bit" if recipe.load_in_4bit else "adapter"
        value = "load_in_4bit: true" if recipe.load_in_4bit else "adapter: qlora"
        yield (
            (key,),
            f"`{value}` needs the package bitsandbytes (got none installed); pip install 'summtune[qlora]'",
        )


def _problems_of_training(recipe: TrainRecipe) -> Iterator[KeyProblem]:
    trackers = (
        ("wandb_project", recipe.wandb_project, "wandb"),
        ("use_tensorboard", recipe.use_tensorboard, "tensorboard"),
        ("mlflow_tracking_uri", recipe.mlflow_tracking_uri, "mlflow"),
    )
    for key, value, package in trackers:
        if value and importlib.util.find_spec(package) is None:
            yield (key,), f"{key} needs the package {package} (got none installed); pip install {package}"


def _ds_config(recipe: TrainRecipe) -> tuple[dict[str, Any] | None, list[KeyProblem]]:
    """Return the DeepSpeed config that a training names, and its problems, including what this machine lacks."""
    if recipe.deepspeed is None or not is_local(recipe.deepspeed) or not is_file(Path(recipe.deepspeed)):
        return None, []  # resolve_paths reports a path that does not exist
    found: list[KeyProblem] = []
    config = None
    try:
        config = parse_ds_config(Path(recipe.deepspeed))
        found += [(("deepspeed",), text) for text in _problems_of_ds_config(recipe, config, Path(recipe.deepspeed))]
    except InputError as error:
        found.append((("deepspeed",), str(error)))
    if importlib.util.find_spec("deepspeed") is None:
        found.append(
            (
                ("deepspeed",),
                "a DeepSpeed config needs the package deepspeed (got none installed); pip install deepspeed",
            )
        )
    return config, found


def _problems_of_ds_config(recipe: TrainRecipe, config: dict[str, Any], path: Path) -> Iterator[str]:
    yield from wrong_with_config(config, path)
    yield from contradictions(config, recipe, path)
    yield from _not_compiled(recipe, config)


def _not_compiled(recipe: TrainRecipe, config: dict[str, Any]) -> Iterator[str]:
    """Yield what this machine lacks for DeepSpeed's CPU optimizer; the nodes of a cluster cannot be checked here."""
    if recipe.launcher == "local" and offloads(config.get("zero_optimization", {}), "offload_optimizer"):
        missing = missing_for_compiling()
        if missing:
            yield (
                "CPU offload compiles DeepSpeed's Adam at its first use, which this machine cannot do (got "
                f"{recipe.deepspeed}, without {', '.join(missing)}); install these, or use a config without offload"
            )


def _unread_overrides(
    loaded: LoadedRecipe, recipe: CompareRecipe, sets: Sequence[Setting], parts: Sequence[CheckedRun]
) -> Iterator[Problem]:
    """Yield the overrides and ``--set`` assignments of a comparison that none of its recipes reads."""
    read = {path[0] for part in parts for path in part.loaded.document.overridden if path}
    for key in recipe.overrides:
        if key.split(".", 1)[0] not in read:
            message = f"none of the recipes reads the override {key}; remove it"
            yield loaded.document.problem(("overrides", key), message)
    for setting in sets:
        if setting.key.split(".", 1)[0] not in read:
            yield Problem(f"none of the recipes reads {setting.key}; remove it", setting.origin)
