"""Finds the DeepSpeed configs under which a training fits a GPU, and the number of GPUs that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import InputError, ModelError
from summtune.base.files import is_file
from summtune.base.hints import hint_or_list
from summtune.base.places import model_folder, package_path
from summtune.deepspeed.configs import read_ds_config, sized
from summtune.deepspeed.rules import contradictions
from summtune.deepspeed.zero_memory import Sharding
from summtune.machine.memory import MemoryEstimate, estimate, trained_weights
from summtune.machine.model_limits import wrong_family
from summtune.machine.model_shapes import KNOWN_MODELS, ModelShape, shape_of
from summtune.recipe.adapters import Adapter, adapter_of
from summtune.recipe.adapters.layers import HEAD
from summtune.recipe.families import layer_names
from summtune.recipe.keys import TrainingSettings

GPU_COUNTS = (1, 2, 4, 8)
# From fastest to slowest: transfers to and from the host cost more than communication between GPUs.
CONFIGS = ("none", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
# CUDA's context and libraries, and the share that the allocator loses to fragmentation.
_CONTEXT_BYTES = 2**30
_FRAGMENTS = 0.05


@dataclass(frozen=True)
class Fit:
    """The memory that one way of training needs.

    Args:
        way: ``none``, a bundled config such as ``zero2``, or an adapter, such as ``lora``.
        gpus: number of processes, all on one node.
        memory: the estimate per device.
        fits: whether a GPU of the given size holds it.
    """

    way: str
    gpus: int
    memory: MemoryEstimate
    fits: bool


def room(gpu_bytes: int) -> int:
    """Return how many bytes of a GPU's memory tensors can use."""
    return int(gpu_bytes * (1 - _FRAGMENTS)) - _CONTEXT_BYTES


def fits(
    recipe: TrainingSettings, shape: ModelShape, gpu_bytes: int, bf16: bool, counts: Sequence[int] = GPU_COUNTS
) -> list[Fit]:
    """Return what an adapter and each bundled DeepSpeed config that can train the recipe need, by number of GPUs.

    A recipe with an adapter is estimated with that alone; for the others the adapter is LoRA.

    Args:
        recipe: of the training, with its lengths, micro batch, optimizer and gradient_checkpointing.
        shape: of its model.
        gpu_bytes: memory of each GPU.
        bf16: whether they compute in bfloat16 (`memory.takes_bf16`).
        counts: numbers of GPUs, on one node.
    """
    names = layer_names(shape.config, tuple(sorted(set(shape.layer_sizes) - {HEAD})))
    adapter = adapter_of(recipe, names)
    lora = recipe.model_copy(update={"adapter": "lora"})
    ways: list[tuple[str, TrainingSettings, Adapter | None]] = []
    if adapter is None:
        ways = [(way, recipe, None) for way in CONFIGS]
        adapter, recipe = adapter_of(lora, names), lora
    assert adapter is not None
    found = []
    for way, planned, trained in [*ways, (adapter.method, recipe, adapter)]:
        trainable = trained_weights(shape, trained)
        if trainable is None:
            continue
        sharding = Sharding()
        if way in CONFIGS and way != "none":
            path = package_path(f"ds_configs/{way}.json")
            config = read_ds_config(path)
            if any(contradictions(config, planned, path)):  # such as Adafactor under ZeRO, which is refused
                continue
            sharding = Sharding.of(sized(config, trainable))
        for gpus in counts:
            memory = estimate(planned, shape, trained, gpus, sharding, bf16)
            found.append(Fit(way, gpus, memory, memory.total <= room(gpu_bytes)))
    return found


def fastest(found: Sequence[Fit], gpus: int) -> str | None:
    """Return the fastest way to train all weights that fits on this number of GPUs; None if none does."""
    return next((fit.way for fit in found if fit.gpus == gpus and fit.fits and fit.way in CONFIGS), None)


def model_shape(base_model: str) -> ModelShape:
    """Return the sizes of a known model or of a local one.

    Raises:
        InputError: the sizes cannot be determined, or the model's family is not supported.
    """
    folder = model_folder(base_model) or (Path(base_model) if Path(base_model).is_dir() else None)
    if folder is not None and not is_file(folder / "config.json"):
        raise InputError(f"no model at this path (got {folder}); give a folder with config.json, or a hub id")
    if folder is not None and (wrong := wrong_family(folder)):
        raise ModelError(wrong)
    shape = shape_of(base_model, folder)
    if shape is None:
        raise InputError(
            f"the sizes of this model are unknown (got {base_model}){hint_or_list(base_model, KNOWN_MODELS)}; "
            "or give the folder of a T5 or of a decoder-only model such as a Llama"
        )
    return shape
