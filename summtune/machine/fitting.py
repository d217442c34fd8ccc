"""Finds the DeepSpeed configs under which a training fits a GPU, and the number of GPUs that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import InputError
from summtune.base.hints import hint_or_list
from summtune.base.places import model_folder, package_path
from summtune.deepspeed.configs import read_ds_config, sized
from summtune.deepspeed.rules import contradictions
from summtune.deepspeed.zero_memory import Sharding
from summtune.machine.memory import MemoryEstimate, estimate
from summtune.machine.model_shapes import KNOWN_MODELS, T5Shape, shape_of
from summtune.recipe.keys import TrainRecipe

GPU_COUNTS = (1, 2, 4, 8)
# From fastest to slowest: transfers to and from the host cost more than communication between GPUs.
_CONFIGS = ("none", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
# CUDA's context and libraries, and the share that the allocator loses to fragmentation.
_CONTEXT_BYTES = 2**30
_FRAGMENTS = 0.05


@dataclass(frozen=True)
class Fit:
    """The memory that one way of training needs.

    Args:
        way: ``none``, a bundled config such as ``zero2``, or ``lora``.
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
    recipe: TrainRecipe, shape: T5Shape, gpu_bytes: int, bf16: bool, counts: Sequence[int] = GPU_COUNTS
) -> list[Fit]:
    """Return what LoRA and each bundled DeepSpeed config that can train the recipe need, for each number of GPUs.

    Args:
        recipe: of the training, with its lengths, micro batch, optimizer and gradient_checkpointing.
        shape: of its model.
        gpu_bytes: memory of each GPU.
        bf16: whether they compute in bfloat16 (`memory.takes_bf16`).
        counts: numbers of GPUs, on one node.
    """
    ways = list(_CONFIGS) if recipe.adapter is None else []
    found = []
    for way in [*ways, "lora"]:
        planned = recipe
        trainable: int | None = shape.parameters
        if way == "lora":
            planned = recipe if recipe.adapter else recipe.model_copy(update={"adapter": "lora"})
            trainable = shape.lora_parameters(planned.lora_r, planned.lora_target_modules, planned.peft_use_dora)
        if trainable is None:
            continue
        sharding = Sharding()
        if way not in ("none", "lora"):
            path = package_path(f"ds_configs/{way}.json")
            config = read_ds_config(path)
            if any(contradictions(config, recipe, path)):  # such as Adafactor under ZeRO, which is refused
                continue
            sharding = Sharding.of(sized(config, trainable))
        for gpus in counts:
            memory = estimate(planned, shape, trainable, gpus, sharding, bf16)
            found.append(Fit(way, gpus, memory, memory.total <= room(gpu_bytes)))
    return found


def fastest(found: Sequence[Fit], gpus: int) -> str | None:
    """Return the fastest way to train all weights that fits on this number of GPUs; None if none does."""
    return next((fit.way for fit in found if fit.gpus == gpus and fit.fits and fit.way != "lora"), None)


def model_shape(base_model: str) -> T5Shape:
    """Return the sizes of a known model or of a local one.

    Raises:
        InputError: the sizes cannot be determined.
    """
    folder = model_folder(base_model) or (Path(base_model) if Path(base_model).is_dir() else None)
    shape = shape_of(base_model, folder)
    if shape is None:
        raise InputError(
            f"the sizes of this model are unknown (got {base_model}){hint_or_list(base_model, KNOWN_MODELS)}; "
            "or give the folder of a T5 model"
        )
    return shape
