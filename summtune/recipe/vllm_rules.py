"""Rules for `generation.engine: vllm`: what its server cannot generate with."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from summtune.recipe.adapters import method_of, quantization_of, takes_weights_of_the_base
from summtune.recipe.adapters.lora import Lora
from summtune.recipe.document import KeyPath
from summtune.recipe.keys import LocalRecipe, TrainRecipe

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values of vLLM's ``--max-lora-rank`` that all its versions with the engine V1 take."""


def served_rank(recipe: TrainRecipe) -> int:
    """Return the rank of the LoRA that a training leaves: one that began as a part of the base has twice its own."""
    return recipe.lora_r * (2 if takes_weights_of_the_base(recipe.peft_init_lora_weights) else 1)


def check_vllm(recipe: LocalRecipe, wrong: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what a recipe asks that vLLM cannot do.

    Args:
        recipe: the values, defaults filled in.
        wrong: keys that have an invalid value; rules that depend on them are skipped.
    """
    if "generation" in wrong or recipe.generation.engine != "vllm":
        return
    yield from _settings(recipe)
    if not {"num_machines", "slurm"} & set(wrong):
        yield from _machines(recipe)
    if isinstance(recipe, TrainRecipe) and not {"adapter", "lora_r", "peft_init_lora_weights"} & set(wrong):
        yield from _adapter(recipe)


def _settings(recipe: LocalRecipe) -> Iterator[tuple[KeyPath, str]]:
    settings = recipe.generation
    if settings.num_beams > 1:
        yield (
            ("generation", "num_beams"),
            f"vLLM has no beam search (got num_beams: {settings.num_beams} with `engine: vllm`); set num_beams to 1, "
            "or remove engine",
        )
    if settings.no_repeat_ngram_size:
        yield (
            ("generation", "no_repeat_ngram_size"),
            f"vLLM cannot forbid n-grams (got no_repeat_ngram_size: {settings.no_repeat_ngram_size} with "
            "`engine: vllm`); remove one of the two",
        )
    if quantization_of(recipe) is not None:
        key = "load_in_4bit" if recipe.load_in_4bit else "adapter"
        yield (
            (key,),
            f"weights of four bits generate with transformers only (got {key}: {getattr(recipe, key)} with "
            "generation.engine: vllm); remove one of the two",
        )


def _machines(recipe: LocalRecipe) -> Iterator[tuple[KeyPath, str]]:
    """Yield the problem of more machines than the one on which the server runs."""
    advice = "remove generation.engine"
    if isinstance(recipe, TrainRecipe):
        advice += ", or train without it first: with it and one machine, the same recipe then reuses the training"
    if recipe.launcher == "local" and recipe.num_machines > 1:
        yield (
            ("num_machines",),
            f"vLLM generates on one machine (got num_machines: {recipe.num_machines} with generation.engine: vllm); "
            f"set it to 1, or {advice}",
        )
    nodes = 1 if recipe.slurm is None else recipe.slurm.nodes
    if nodes > 1:
        yield (
            ("slurm", "nodes"),
            f"vLLM generates on one node (got slurm.nodes: {nodes} with generation.engine: vllm); set it to 1, or "
            f"{advice}",
        )


def _adapter(recipe: TrainRecipe) -> Iterator[tuple[KeyPath, str]]:
    method = method_of(recipe.adapter)
    if method is None:
        return
    if method is not Lora:
        yield (
            ("adapter",),
            f"vLLM serves no adapter but LoRA (got adapter: {recipe.adapter} with generation.engine: vllm); use "
            "`adapter: lora`, or remove generation.engine",
        )
        return
    if recipe.peft_use_dora:
        yield (
            ("peft_use_dora",),
            "vLLM serves no DoRA (got peft_use_dora: true with generation.engine: vllm); remove one of the two",
        )
    rank = served_rank(recipe)
    if rank > LORA_RANKS[-1]:
        doubled = "" if rank == recipe.lora_r else f", which {recipe.peft_init_lora_weights} doubles"
        yield (
            ("lora_r",),
            f"vLLM serves LoRA up to rank {LORA_RANKS[-1]} (got lora_r: {recipe.lora_r}{doubled}); lower it, or remove "
            "generation.engine",
        )
