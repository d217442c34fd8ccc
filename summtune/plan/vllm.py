"""How a prediction with vLLM is launched, and which models it can serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from summtune.machine.tensor_parallel import divides, heads_of, most_shards
from summtune.plan.launch import PREDICT_CONFIG, Launch
from summtune.recipe.families import family_of
from summtune.recipe.keys import LocalRecipe, PromptRecipe


def vllm_launch(device: Literal["cuda", "cpu"], devices: int) -> Launch:
    """Return the launch of one worker, which starts a server over the devices of this machine.

    It never equals that of a training: the memory that the training holds must be free before the server starts.

    Args:
        device: that generates.
        devices: GPUs that the run has.
    """
    return Launch(
        distribution="none",
        processes=1,
        device=device,
        config_file=PREDICT_CONFIG,
        devices_per_process=devices if device == "cuda" else 1,
    )


def sharded(launch: Launch, config: Mapping[str, Any]) -> Launch:
    """Return the launch on as many of its devices as the heads of the model can be divided over.

    Args:
        launch: of `vllm_launch`.
        config: content of config.json.
    """
    return launch.model_copy(update={"devices_per_process": most_shards(config, launch.devices_per_process)})


def problems_with_vllm(recipe: LocalRecipe, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what vLLM cannot do with the model of a recipe: the key of the recipe, and why.

    Args:
        recipe: paths resolved.
        config: content of config.json.
    """
    if recipe.generation.engine != "vllm":
        return
    if family_of(config) == "encoder_decoder":
        yield (
            "generation.engine",
            f"vLLM serves decoder-only models (got model_type {config.get('model_type')!r}, an encoder-decoder model); "
            "remove generation.engine",
        )
    asked = recipe.num_processes
    # A training has its own number of processes, of whose devices the server takes as many as it can.
    if isinstance(recipe, PromptRecipe) and asked is not None and not divides(config, asked):
        queries, keys = heads_of(config) or (0, 0)
        yield (
            "num_processes",
            f"vLLM cannot divide the model's attention heads over these devices (got num_processes: {asked}; the model "
            f"has {queries} heads of queries and {keys} of keys); set it to {most_shards(config, asked)}",
        )
