"""Loads models and tokenizers, and saves trained ones so that every version of transformers reads them correctly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import GENERATION_CONFIG_NAME

from summtune.base.errors import ModelError
from summtune.base.files import sync, write_text
from summtune.machine.stored_tensors import stored_tensors
from summtune.recipe.adapters import Quantization
from summtune.recipe.families import no_family
from summtune.work.models.families import family_named, family_of_config

_PACKS = "support_avx512bf16_for_cpu"
"""The attribute of a layer of bitsandbytes that lets it rearrange its weights."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in ``folder``.

    Raises:
        ModelError: it does not exist, or has no character offsets.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer can be loaded (got {folder}: {_first_line(error)}); add tokenizer.json"
        ) from None
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer has no character offsets (got {type(tokenizer).__name__}); add tokenizer.json")
    return tokenizer


def padding_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id that pads a batch; any will do where the tokenizer names none, because padding is masked."""
    named = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((one for one in named if isinstance(one, int)), 0)


def load_config(folder: Path) -> PretrainedConfig:
    """Return the config of the model in ``folder``.

    Raises:
        ModelError: it cannot be read, or belongs to a family that summtune does not know.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"no model can be loaded (got {folder}: {_first_line(error)})") from None
    if family_of_config(config) is None:
        raise ModelError(no_family(config.to_dict(), folder / "config.json"))
    return config


def generation_settings_of(folder: Path, config: PretrainedConfig) -> GenerationConfig:
    """Return the generation settings that the files of a model name, or those that its config implies.

    Args:
        folder: of the model.
        config: of the model.
    """
    if (folder / GENERATION_CONFIG_NAME).is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(config)


def load_model(
    folder: Path,
    dtype: torch.dtype,
    quantization: Quantization | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> PreTrainedModel:
    """Return the model in ``folder``; only safetensors are read, and no code from the folder is run.

    Args:
        folder: with config.json and safetensors.
        dtype: of the weights.
        quantization: of the linear layers.
        say: receives that four bits are slow on this machine.

    Raises:
        ModelError: it belongs to a family that summtune does not know, or its files cannot be read.
    """
    config = load_config(folder)
    family = family_of_config(config)
    assert family is not None, "load_config refuses it"
    options: dict[str, Any] = {}
    if quantization is not None:
        options["quantization_config"] = _in_four_bits(quantization, dtype)
        if not torch.cuda.is_available():
            say("weights of four bits are slow on a CPU, for more than a few dialogues too slow (got no CUDA device)")
    try:
        model = family_named(family).load(folder, config, dtype, options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the model's files cannot be loaded (got {folder}: {_first_line(error)})") from None
    assert isinstance(model, PreTrainedModel)
    _leave_unpacked(model)
    return model


def _leave_unpacked(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from rearranging weights of four bits on some CPUs when a model is evaluated.

    It would round their scales to bf16 in the middle of a training, and fails where a layer's inputs are no multiple
    of 64.
    """
    for module in model.modules():
        if hasattr(module, _PACKS):
            setattr(module, _PACKS, False)


def _in_four_bits(quantization: Quantization, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.scheme,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Return (trainable, total) weights; sharded (ZeRO-3) and shared ones are counted once, at their full size."""
    trainable = total = 0
    for parameter in model.parameters():
        size = int(getattr(parameter, "ds_numel", parameter.numel()))
        if type(parameter).__name__ == "Params4bit":
            size *= 2  # two weights per byte
        total += size
        trainable += size if parameter.requires_grad else 0
    return trainable, total


def alias_names(model: torch.nn.Module) -> set[str]:
    """Return the second and further names of shared weights, such as those of T5's embedding."""
    seen: set[int] = set()
    aliases: set[str] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            aliases.add(name)
        seen.add(id(parameter))
    return aliases


def mark_untied(folder: Path) -> None:
    """Correct config.json if lm_head is stored as a separate matrix.

    transformers 5 writes ``tie_word_embeddings: true`` for every T5. Version 4 and converters would then replace the
    trained lm_head by the embedding.
    """
    path = folder / "config.json"
    if path.is_file() and "lm_head.weight" in stored_tensors(folder):
        config = json.loads(path.read_text(encoding="utf-8"))
        config["tie_word_embeddings"] = False
        write_text(path, json.dumps(config, indent=2) + "\n")


def publish(partial: Path, final: Path) -> None:
    """Move a completely written model folder to its final place."""
    for path in (*partial.rglob("*"), partial):
        sync(path)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    sync(final.parent)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
