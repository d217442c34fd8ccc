"""The command of vLLM's server for the model of a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from summtune.recipe.keys import LocalRecipe, PromptRecipe
from summtune.recipe.vllm_rules import LORA_RANKS, served_rank
from summtune.runs.statistics import Precision

HOST = "127.0.0.1"
_DTYPES: Mapping[Precision, str] = {"bf16": "bfloat16", "fp32": "float32"}
# What an environment of another Python must not read, and what accelerate sets for the worker alone.
_FOREIGN = ("ACCELERATE_", "PYTHONPATH", "PYTHONHOME", "KMP_", "DS_ACCELERATOR", "MASTER_", "RANK", "LOCAL_", "WORLD_")


class Served(NamedTuple):
    """What a server serves.

    Args:
        model: folder or hub id of a whole model.
        lora: folder of the LoRA on it; None without.
    """

    model: str
    lora: Path | None

    @property
    def name(self) -> str:
        """The name by which requests ask for it."""
        return "base" if self.lora is None else "tuned"

    @property
    def root(self) -> str:
        """Where the server says that it has it from."""
        return self.model if self.lora is None else str(self.lora)


def served_by(recipe: LocalRecipe, base: str, trained: Path) -> Served:
    """Return what the server of a recipe serves.

    Args:
        recipe: of the run.
        base: folder of the base model, or its hub id while it is not downloaded.
        trained: folder of what a training leaves: a whole model, or a LoRA on the base.
    """
    if isinstance(recipe, PromptRecipe):
        return Served(base, None)
    return Served(str(trained), None) if recipe.adapter is None else Served(base, trained)


def serve_command(
    executable: str, recipe: LocalRecipe, served: Served, *, precision: Precision, devices: int, port: str
) -> list[str]:
    """Return the command. Nobody but this machine can reach the server, and it reads no weights but safetensors.

    Args:
        executable: `summtune.generation.vllm.executable`.
        recipe: of the run.
        served: of the recipe.
        precision: of the weights.
        devices: GPUs over which the model is sharded.
        port: that the server listens on.
    """
    command = [
        executable, "serve", served.model,
        "--served-model-name", "base",
        "--host", HOST, "--port", port,
        "--dtype", _DTYPES[precision],
        "--tensor-parallel-size", str(devices),
        "--max-model-len", str(recipe.sequence_len + recipe.generation.max_new_tokens),
        "--seed", str(recipe.seed),
        "--load-format", "safetensors",
        # Otherwise the model's generation_config.json would set what the recipe leaves open.
        "--generation-config", "vllm",
        "--disable-uvicorn-access-log",
    ]  # fmt: skip
    if served.lora is not None and not isinstance(recipe, PromptRecipe):
        rank = next(rank for rank in LORA_RANKS if rank >= served_rank(recipe))
        adapter = json.dumps({"name": served.name, "path": served.root})
        command += ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", adapter]
    return command


def serve_environment(environment: Mapping[str, str], key: str) -> dict[str, str]:
    """Return the environment of the server: offline, without telemetry, and with the key that requests must have.

    Args:
        environment: of the worker.
        key: made for this server; in the environment no other user can read it.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(_FOREIGN)}
    return kept | {
        "VLLM_API_KEY": key,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
