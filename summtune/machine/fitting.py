"""Says which DeepSpeed config makes a training fit a GPU, and on how many of them."""

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
# From the fastest to the slowest: what is moved to and from the host costs more than what GPUs tell each other.
_CONFIGS = ("none", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
# CUDA's context and libraries, and the share that the allocator loses in fragments.
_CONTEXT_BYTES = 2**30
_FRAGMENTS = 0.05


@dataclass(frozen=True)
class Fit:
    """What one way of training needs.

    Args:
        way: ``none``, a shipped config such as ``zero2``, or ``lora``.
        gpus: processes, all on one node.
        memory: the estimate.
        fits: whether a GPU of the given size holds it.
    """

    way: str
    gpus: int
    memory: MemoryEstimate
    fits: bool


def room(gpu_bytes: int) -> int:
    """Return the bytes of a GPU that tensors can have."""
    return int(gpu_bytes * (1 - _FRAGMENTS)) - _CONTEXT_BYTES


def fits(
    recipe: TrainRecipe, shape: T5Shape, gpu_bytes: int, bf16: bool, counts: Sequence[int] = GPU_COUNTS
) -> list[Fit]:
    """Return the needs of each shipped DeepSpeed config that can train the recipe, and of LoRA, on so many GPUs each.

    Args:
        recipe: of the training; its lengths, micro batch, optimizer and gradient_checkpointing are what is trained.
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
            if any(contradictions(config, recipe, path)):  # Adafactor under ZeRO: it would be refused
                continue
            sharding = Sharding.of(sized(config, trainable))
        for gpus in counts:
            memory = estimate(planned, shape, trainable, gpus, sharding, bf16)
            found.append(Fit(way, gpus, memory, memory.total <= room(gpu_bytes)))
    return found


def fastest(found: Sequence[Fit], gpus: int) -> str | None:
    """Return the first way to train all weights that fits on so many GPUs; None where none does."""
    return next((fit.way for fit in found if fit.gpus == gpus and fit.fits and fit.way != "lora"), None)


def model_shape(base_model: str) -> T5Shape:
    """Return the sizes of a known model or of a local one.

    Raises:
        InputError: they cannot be told.
    """
    folder = model_folder(base_model) or (Path(base_model) if Path(base_model).is_dir() else None)
    shape = shape_of(base_model, folder)
    if shape is None:
        raise InputError(
            f"the sizes of this model are not known (got {base_model}){hint_or_list(base_model, KNOWN_MODELS)}; "
            "or give the folder of a T5"
        )
    return shape
