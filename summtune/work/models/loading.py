"""Loads models and tokenizers, and writes trained ones so that every version of transformers reads them right."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from summtune.base.errors import ModelError, StageError
from summtune.base.files import sync, write_text
from summtune.machine.model_shapes import stored_tensors
from summtune.recipe.keys import TrainRecipe
from summtune.work.models.adapter_layers import check_targets

if TYPE_CHECKING:
    from peft import PeftModel


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in ``folder``.

    Raises:
        ModelError: there is none, or it cannot tell which characters a token stands for.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer can be loaded (got {folder}: {_first_line(error)}); it needs tokenizer.json"
        ) from None
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer has no character offsets (got {type(tokenizer).__name__}); it needs tokenizer.json"
        )
    return tokenizer


def load_config(folder: Path) -> PretrainedConfig:
    """Return the config of the encoder-decoder model in ``folder``.

    Raises:
        ModelError: it cannot be read, or is that of another kind of model.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"no model can be loaded (got {folder}: {_first_line(error)})") from None
    if not config.is_encoder_decoder:
        raise ModelError(
            f"not an encoder-decoder model (got model_type {config.model_type!r}); use a T5, BART or Pegasus"
        )
    return config


def load_model(folder: Path, dtype: torch.dtype, quantize: bool = False) -> PreTrainedModel:
    """Return the encoder-decoder model in ``folder``: safetensors only, no code from the folder is run.

    Args:
        folder: config.json and safetensors.
        dtype: of the weights.
        quantize: load the linear layers in 4 bits (QLoRA, Dettmers et al., 2023); CUDA only.

    Raises:
        ModelError: it is not an encoder-decoder model, or its files cannot be read.
    """
    config = load_config(folder)
    options: dict[str, Any] = {"quantization_config": _four_bit(dtype)} if quantize else {}
    try:
        with _lm_head_apart(config, folder):
            model = AutoModelForSeq2SeqLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False, **options
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the model's files cannot be loaded (got {folder}: {_first_line(error)})") from None
    assert isinstance(model, PreTrainedModel)
    return model


@contextlib.contextmanager
def _lm_head_apart(config: PretrainedConfig, folder: Path) -> Iterator[None]:
    """While a model is loaded, do not let lm_head be tied to the embedding where the checkpoint holds a matrix of its
    own.

    transformers 5 takes every T5 for a tied one, and unties FLAN-T5 only because it compares the two matrices. Under
    ZeRO-3 both are sharded and look alike (empty), so lm_head would silently be replaced by the embedding.
    """
    model_class = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING.get(type(config), None)
    tied = getattr(model_class, "_tied_weights_keys", None)
    if not isinstance(tied, dict) or "lm_head.weight" not in tied or "lm_head.weight" not in stored_tensors(folder):
        yield
        return
    model_class._tied_weights_keys = {name: source for name, source in tied.items() if name != "lm_head.weight"}
    try:
        yield
    finally:
        model_class._tied_weights_keys = tied


def _four_bit(dtype: torch.dtype) -> Any:
    if not torch.cuda.is_available():
        raise StageError("qlora needs a CUDA device (got none); use `adapter: lora`")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def add_adapter(model: PreTrainedModel, recipe: TrainRecipe, base_model: str, revision: str | None = None) -> PeftModel:
    """Return ``model`` with a trainable LoRA adapter on it (Hu et al., 2021).

    Args:
        model: the frozen base.
        recipe: the adapter's keys.
        base_model: what the saved adapter names as its base: a hub id, or a folder of this machine.
        revision: of a hub model.

    Raises:
        ModelError: a target module cannot take an adapter (`check_targets`).
    """
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model

    if recipe.adapter == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=recipe.gradient_checkpointing)
    check_targets(model, recipe.lora_target_modules)
    config = LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=recipe.lora_target_modules,
        use_dora=recipe.peft_use_dora,
        use_rslora=recipe.peft_use_rslora,
    )
    adapted = get_peft_model(model, config)
    # Only now: peft replaces the name in a config by the folder that the base came from, and warns of it.
    adapted.peft_config["default"].base_model_name_or_path = base_model
    adapted.peft_config["default"].revision = revision
    assert isinstance(adapted, PeftModel)
    return adapted


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Return ``model`` with the trained adapter of ``folder``."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, local_files_only=True)


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Return (trainable, total) weights; sharded (ZeRO-3) and shared ones are counted once, at their full size."""
    trainable = total = 0
    for parameter in model.parameters():
        size = int(getattr(parameter, "ds_numel", parameter.numel()))
        if type(parameter).__name__ == "Params4bit":
            size *= 2  # two weights a byte
        total += size
        trainable += size if parameter.requires_grad else 0
    return trainable, total


def alias_names(model: torch.nn.Module) -> set[str]:
    """Return the names of weights that are another name of an earlier one, such as T5's two embeddings."""
    seen: set[int] = set()
    aliases: set[str] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            aliases.add(name)
        seen.add(id(parameter))
    return aliases


def without_aliases(state: Mapping[str, torch.Tensor], aliases: set[str]) -> dict[str, torch.Tensor]:
    """Return the weights to save: DeepSpeed copies shared ones, which would be stored once for each name."""
    return {name: tensor for name, tensor in state.items() if name not in aliases}


def mark_untied(folder: Path) -> None:
    """Say in config.json that lm_head is a matrix of its own, where it is.

    transformers 5 writes ``tie_word_embeddings: true`` for every T5, and 4.x and converters that believe it would
    replace the trained lm_head by the embedding.
    """
    path = folder / "config.json"
    if path.is_file() and "lm_head.weight" in stored_tensors(folder):
        config = json.loads(path.read_text(encoding="utf-8"))
        config["tie_word_embeddings"] = False
        write_text(path, json.dumps(config, indent=2) + "\n")


def publish(partial: Path, final: Path) -> None:
    """Put a completely written model folder in its place."""
    for path in (*partial.rglob("*"), partial):
        sync(path)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    sync(final.parent)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
