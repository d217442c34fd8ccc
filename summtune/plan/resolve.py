"""Turns a recipe into a plan: defaults filled in, paths absolute, devices counted, batches multiplied out."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import InputError
from summtune.base.files import followed
from summtune.base.hashing import hash_of
from summtune.base.version import __version__
from summtune.deepspeed.configs import read_ds_config, sized
from summtune.deepspeed.zero_memory import Sharding
from summtune.machine.devices import Gpu, visible_gpus
from summtune.machine.memory import MemoryEstimate, estimate, takes_bf16
from summtune.machine.model_shapes import ModelShape
from summtune.plan.checking import System, check, systems_of
from summtune.plan.keys import identify, model_identity
from summtune.plan.models import plan_of_model
from summtune.plan.plan import Batch, Launch, ModelPlan, Plan, StagePlan, SystemPlan
from summtune.recipe.adapters import with_layers
from summtune.recipe.document import Document
from summtune.recipe.keys import Recipe, Slurm
from summtune.recipe.launching_rules import fits_script
from summtune.recipe.loading import LoadedRecipe
from summtune.recipe.overriding import NO_OVERRIDES, Setting
from summtune.runs.run_directory import SYSTEMS, timestamp

OUTPUTS = "outputs"

_VERSIONED = (
    "accelerate", "datasets", "deepspeed", "evaluate", "peft", "rouge_score", "safetensors", "tokenizers", "torch",
    "transformers",
)  # fmt: skip


@dataclass(frozen=True)
class Resolved:
    """A recipe made ready to run.

    Args:
        loaded: the file, for places of problems.
        plan: everything but the data's counts.
        run_dir: absolute.
        memory: what training needs on each device; None for prompts and unknown models.
        gpus: the devices that were seen, here where the recipe runs here.
        bf16: whether the estimate counts in bfloat16.
        parts: of a comparison, the name and the plan of each system.
    """

    loaded: LoadedRecipe
    plan: Plan
    run_dir: Path
    memory: MemoryEstimate | None = None
    gpus: tuple[Gpu, ...] = ()
    bf16: bool = False
    parts: tuple[tuple[str, Resolved], ...] = ()

    @property
    def runs(self) -> tuple[Resolved, ...]:
        """The runs of this recipe: itself, or of a comparison its systems."""
        return tuple(part for _, part in self.parts) or (self,)

    @property
    def machines(self) -> int:
        """How many machines the command is given on; the nodes of a Slurm job are not among them."""
        local = [run.plan.stages for run in self.runs if run.plan.recipe.launcher == "local"]
        return max((stage.launch.machines for stages in local for stage in stages if stage.launch), default=1)


def resolve(
    path: Path,
    sets: Sequence[str | Setting] = (),
    output_dir: Path | None = None,
    system: System | None = None,
    document: Document | None = None,
) -> Resolved:
    """Return the plan of a recipe.

    Args:
        path: the file.
        sets: ``--set`` assignments.
        output_dir: where the run goes; for a system of a comparison, the folder that gets its run directory.
        system: set when the recipe is part of a comparison.
        document: what the file would hold, where there is none.

    Raises:
        InputError: something in the recipe, or a file that it names, is wrong.
    """
    loaded, recipe = check(path, sets, system.overrides if system else NO_OVERRIDES, document)
    if recipe.kind == "compare":
        return _comparison(loaded, recipe, output_dir)
    gpus = () if recipe.launcher == "slurm" else tuple(visible_gpus())  # a login node's are not those that train
    stages = _stages(recipe, gpus)
    launch = stages[0].launch
    assert launch is not None
    batch = Batch.of(recipe, launch.processes, None) if recipe.kind == "train" else None
    content = model_identity(recipe)
    model, shape = plan_of_model(recipe, content)
    recipe = with_layers(recipe, model.adapter)
    identity = identify(recipe, batch.global_batch if batch else None, content)
    plan = _plan(loaded, recipe, identity).model_copy(update={"model": model, "batch": batch, "stages": stages})
    run_dir = _run_dir(loaded, recipe, identity, output_dir, inside=system is not None)
    if recipe.launcher == "slurm" and not fits_script(str(run_dir)):
        raise InputError(
            "the run directory of a Slurm job has no quotes, backslashes or control characters in its path (got "
            f"{run_dir}); choose another --output-dir"
        )
    bf16 = takes_bf16(recipe, gpus, launch.device)
    memory = _memory(recipe, model, shape, launch, bf16) if shape and recipe.kind == "train" else None
    return Resolved(loaded, plan, run_dir, memory, gpus, bf16)


def _comparison(loaded: LoadedRecipe, recipe: Recipe, output_dir: Path | None) -> Resolved:
    given = output_dir or (Path(recipe.output_dir) if recipe.output_dir else None)
    folder = followed(given / SYSTEMS if given else Path(OUTPUTS))
    parts = tuple((system.name, resolve(system.path, (), folder, system)) for system in systems_of(loaded, recipe))
    identity = hash_of({"systems": [(name, part.plan.identity) for name, part in parts], "baseline": recipe.baseline})
    systems = [
        SystemPlan(name=name, recipe_path=part.plan.recipe_path, run_dir=str(part.run_dir)) for name, part in parts
    ]
    plan = _plan(loaded, recipe, identity).model_copy(update={"systems": systems})
    return Resolved(loaded, plan, _run_dir(loaded, recipe, identity, given, inside=False), parts=parts)


def _plan(loaded: LoadedRecipe, recipe: Recipe, identity: str) -> Plan:
    return Plan(
        kind=recipe.kind,
        name=loaded.name,
        identity=identity,
        recipe_path=str(loaded.path),
        created_at=timestamp(),
        git_commit=_git_commit(loaded.path.parent),
        versions=_versions(),
        recipe=recipe,
    )


def _run_dir(loaded: LoadedRecipe, recipe: Recipe, identity: str, given: Path | None, inside: bool) -> Path:
    name = f"{loaded.name}-{identity[:8]}"
    if inside:
        assert given is not None
        return followed(given / name)
    if given is not None:
        return followed(given)
    return Path(recipe.output_dir) if recipe.output_dir else followed(Path(OUTPUTS) / name)


def _stages(recipe: Recipe, gpus: Sequence[Gpu]) -> list[StagePlan]:
    machines, devices = recipe.num_machines, len(gpus)
    if recipe.launcher == "slurm":
        slurm = recipe.slurm or Slurm()
        machines, devices = slurm.nodes, slurm.gpus_per_node or 0
    processes = recipe.num_processes or machines * max(1, devices)
    if recipe.launcher == "local" and devices and processes > machines * devices:
        where = "visible" if machines == 1 else f"on {machines} machines with {devices} each"
        raise InputError(
            f"num_processes exceeds the visible devices (got {processes}, {machines * devices} {where}); write "
            f"{machines * devices}, or remove it to use them all"
        )
    predict = {
        "distribution": "data_parallel" if processes > 1 else "none",
        "processes": processes,
        "device": "cuda" if devices else "cpu",
        "config_file": "accelerate.yaml",
        "machines": machines,
    }
    stages = [
        StagePlan(name="predict", launch=Launch.model_validate(predict)),
        StagePlan(name="evaluate"),
        StagePlan(name="report"),
    ]
    if recipe.kind == "prompt":
        return stages
    if recipe.deepspeed is None:
        return [StagePlan(name="train", launch=Launch.model_validate(predict)), *stages]
    zero = read_ds_config(Path(recipe.deepspeed)).get("zero_optimization", {})
    train = predict | {"distribution": "deepspeed", "zero_stage": zero.get("stage", 0)}
    predict["config_file"] = "accelerate.predict.yaml"
    stages[0] = StagePlan(name="predict", launch=Launch.model_validate(predict))
    return [StagePlan(name="train", launch=Launch.model_validate(train)), *stages]


def _memory(recipe: Recipe, model: ModelPlan, shape: ModelShape, launch: Launch, bf16: bool) -> MemoryEstimate | None:
    if model.trainable_parameters is None:
        return None
    sharding = Sharding()
    if recipe.deepspeed is not None:
        sharding = Sharding.of(sized(read_ds_config(Path(recipe.deepspeed)), model.trainable_parameters))
    return estimate(recipe, shape, model.adapter, launch.processes, sharding, bf16, nodes=launch.machines)


def _versions() -> dict[str, str]:
    found = {"summtune": __version__}
    for package in _VERSIONED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git_commit(folder: Path) -> str | None:
    """Return the commit that the recipe's folder is at, ``-dirty`` when it has changes; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
