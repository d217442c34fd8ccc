"""Resolves a recipe into the draft of a plan: defaults filled in, paths absolute, devices and launches decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import assert_never

from summtune.base.errors import InputError
from summtune.base.files import followed
from summtune.base.hashing import hash_of
from summtune.base.places import model_folder
from summtune.deepspeed.configs import filled_in, sized
from summtune.deepspeed.zero_memory import Sharding
from summtune.machine.devices import Gpu
from summtune.machine.memory import MemoryEstimate, estimate, takes_bf16, trained_weights
from summtune.machine.model_shapes import shape_of
from summtune.plan.checking import Checked, CheckedComparison, CheckedRun, check
from summtune.plan.draft import CompareDraft, Draft, EndpointDraft, PromptDraft, RunDraft, ScoredDraft, TrainDraft
from summtune.plan.keys import PromptKeys, TrainKeys, model_identity, prompt_keys, train_keys
from summtune.plan.launch import PREDICT_CONFIG, Launch, global_batch
from summtune.plan.models import known_config, parameters_of, planned_adapter
from summtune.plan.outputs import CheckedOutputs
from summtune.plan.vllm import sharded, vllm_launch
from summtune.recipe.adapters import Adapter, with_layers
from summtune.recipe.document import Document
from summtune.recipe.keys import EndpointRecipe, LocalRecipe, PromptRecipe, TrainRecipe
from summtune.recipe.launching_rules import unfit_for_script
from summtune.recipe.loading import LoadedRecipe
from summtune.recipe.overriding import Setting
from summtune.recipe.sections import Slurm
from summtune.runs.run_directory import SYSTEMS

OUTPUTS = "outputs"


def resolve(
    path: Path,
    sets: Sequence[str | Setting] = (),
    output_dir: Path | None = None,
    document: Document | None = None,
    weights: bool = True,
) -> Draft:
    """Return the draft of a recipe's plan.

    Args:
        path: the file.
        sets: ``--set`` assignments.
        output_dir: the run directory; default: the recipe's, else one below ``outputs``.
        document: the content of the recipe, if it does not come from a file.
        weights: whether local models need theirs.

    Raises:
        InputError: the recipe, or a file that it names, cannot be used.
    """
    return drafted(check(path, sets, document, weights), output_dir)


def drafted(checked: Checked, output_dir: Path | None = None) -> Draft:
    """Return the draft of a recipe that is checked; see `resolve`."""
    match checked:
        case CheckedRun():
            return draft_of(checked, output_dir)
        case CheckedComparison():
            return _comparison(checked, output_dir)
    assert_never(checked)


def draft_of(checked: CheckedRun, output_dir: Path | None = None, below: Path | None = None) -> RunDraft:
    """Return the draft of a prompt or train recipe.

    Args:
        checked: the recipe.
        output_dir: the run directory; default: the recipe's, else one below ``outputs``.
        below: the folder of the run directories, for a system of a comparison.

    Raises:
        InputError: the path of the run directory cannot be written in the script of a Slurm job.
    """
    loaded, recipe, gpus = checked.loaded, checked.recipe, checked.gpus
    if isinstance(recipe, EndpointRecipe):
        asked = prompt_keys(loaded, recipe, None)
        run_dir = _run_dir(loaded, asked.evaluate, output_dir, recipe.output_dir, below)
        return EndpointDraft(loaded=loaded, identity=asked.evaluate, run_dir=run_dir, recipe=recipe, keys=asked)
    folder = model_folder(recipe.base_model)
    adapter = None
    if isinstance(recipe, TrainRecipe):
        adapter = planned_adapter(recipe, folder)
        recipe = with_layers(recipe, adapter)  # so that default layers have the same identity as explicit ones
    train, predict = _launches(recipe, checked.deepspeed, gpus)
    config = known_config(recipe.base_model, folder)
    if recipe.generation.engine == "vllm" and config is not None:
        predict = sharded(predict, config)
    content = model_identity(recipe)
    keys: PromptKeys | TrainKeys
    if isinstance(recipe, TrainRecipe):
        keys = train_keys(loaded, recipe, global_batch(recipe, train.processes), content)
    else:
        keys = prompt_keys(loaded, recipe, content)
    run_dir = _run_dir(loaded, keys.evaluate, output_dir, recipe.output_dir, below)
    if recipe.launcher == "slurm" and (unfit := unfit_for_script(str(run_dir))):
        raise InputError(unfit)
    shared: dict[str, Any] = {
        "loaded": loaded,
        "identity": keys.evaluate,
        "keys": keys,
        "run_dir": run_dir,
        "model_folder": folder,
        "content_sha256": content,
        "parameters": parameters_of(recipe, folder),
        "gpus": gpus,
        "predict": predict,
    }
    match recipe:
        case PromptRecipe():
            return PromptDraft(recipe=recipe, **shared)
        case TrainRecipe():
            zero = None if checked.deepspeed is None else filled_in(checked.deepspeed)
            bf16 = takes_bf16(recipe, gpus, train.device)
            memory = _memory(recipe, folder, adapter, train, zero, bf16)
            return TrainDraft(
                recipe=recipe, adapter=adapter, train=train, deepspeed=zero, bf16=bf16, memory=memory, **shared
            )
    assert_never(recipe)


def _comparison(checked: CheckedComparison, output_dir: Path | None) -> CompareDraft:
    recipe = checked.recipe
    given = output_dir or (Path(recipe.output_dir) if recipe.output_dir else None)
    below = followed(given / SYSTEMS if given else Path(OUTPUTS))
    parts = tuple((name, _part(part, below)) for name, part in checked.parts)
    identity = hash_of({"systems": [(name, part.identity) for name, part in parts], "baseline": recipe.baseline})
    run_dir = _run_dir(checked.loaded, identity, output_dir, recipe.output_dir, None)
    return CompareDraft(loaded=checked.loaded, identity=identity, run_dir=run_dir, recipe=recipe, parts=parts)


def _part(checked: CheckedRun | CheckedOutputs, below: Path) -> RunDraft | ScoredDraft:
    if isinstance(checked, CheckedOutputs):
        return ScoredDraft(checked, checked.identity, followed(below / checked.directory))
    return draft_of(checked, below=below)


def _run_dir(
    loaded: LoadedRecipe, identity: str, output_dir: Path | None, of_recipe: str | None, below: Path | None
) -> Path:
    name = f"{loaded.name}-{identity[:8]}"
    if below is not None:
        return followed(below / name)
    if output_dir is not None:
        return followed(output_dir)
    return Path(of_recipe) if of_recipe else followed(Path(OUTPUTS) / name)


def _launches(recipe: LocalRecipe, deepspeed: dict[str, Any] | None, gpus: Sequence[Gpu]) -> tuple[Launch, Launch]:
    """Return how training and prediction are launched; a prompt recipe does not use the first."""
    machines, devices = recipe.num_machines, len(gpus)
    if recipe.launcher == "slurm":
        slurm = recipe.slurm or Slurm()
        machines, devices = slurm.nodes, slurm.gpus_per_node or 0
    processes = recipe.num_processes or machines * max(1, devices)
    replicas = Launch(
        distribution="data_parallel" if processes > 1 else "none",
        processes=processes,
        device="cuda" if devices else "cpu",
        config_file="accelerate.yaml",
        machines=machines,
    )
    train = predict = replicas
    if deepspeed is not None:
        stage = deepspeed.get("zero_optimization", {}).get("stage", 0)
        train = replicas.model_copy(update={"distribution": "deepspeed", "zero_stage": stage})
        predict = replicas.model_copy(update={"config_file": PREDICT_CONFIG})
    if recipe.generation.engine == "vllm":
        predict = vllm_launch(replicas.device, processes)
    return train, predict


def _memory(
    recipe: TrainRecipe,
    folder: Path | None,
    adapter: Adapter | None,
    launch: Launch,
    deepspeed: dict[str, Any] | None,
    bf16: bool,
) -> MemoryEstimate | None:
    shape = shape_of(recipe.base_model, folder)
    trainable = None if shape is None else trained_weights(shape, adapter)
    if shape is None or trainable is None:
        return None
    sharding = Sharding() if deepspeed is None else Sharding.of(sized(deepspeed, trainable))
    return estimate(recipe, shape, adapter, launch.processes, sharding, bf16, launch.machines, launch.device)
