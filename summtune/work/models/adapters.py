"""Adds the adapter of a plan to a model, through peft."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from typing_extensions import assert_never

from summtune.base.errors import ModelError
from summtune.recipe.adapters import Adapter, Ia3, Lora, PromptTuning
from summtune.work.models.adapter_layers import check_targets
from summtune.work.models.families import family_of_model
from summtune.work.models.global_attention import takes_global_attention
from summtune.work.models.virtual_tokens import add_virtual_tokens

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel


_STARTING_VALUES = {"lora_B": 0.0, "ia3_l": 1.0}
"""Initial values of the weights that peft does not draw at random, by a part of their names."""


def add_adapter(
    model: PreTrainedModel,
    adapter: Adapter,
    base_model: str,
    revision: str | None = None,
    tokenizer: Path | None = None,
) -> PeftModel:
    """Return ``model`` with a trainable adapter on it.

    Args:
        model: the frozen base.
        adapter: from the plan.
        base_model: the base that the saved adapter names: a hub id, or a folder on this machine.
        revision: of a hub model.
        tokenizer: folder of the tokenizer that splits the text of prompt tuning.

    Raises:
        ModelError: a layer cannot take an adapter (`check_targets`), or the model no virtual tokens.
    """
    from peft import PeftModel, get_peft_model

    for key, layers in adapter.layers().items():
        check_targets(model, layers, key)
    adapted = get_peft_model(model, _peft_config(model, adapter, tokenizer))
    assert isinstance(adapted, PeftModel)
    config = adapted.peft_config["default"]
    # Only now, because peft replaces this name by the folder of the base and warns about it.
    config.base_model_name_or_path = base_model
    config.revision = revision
    if isinstance(adapter, PromptTuning):
        _check_embedding(adapted, model)
        if adapter.text is not None:
            config.tokenizer_name_or_path = base_model  # not a folder of this machine
    return adapted


def _check_embedding(adapted: PeftModel, model: PreTrainedModel) -> None:
    """Check that peft embeds a prompt as the model does, which it does not for some BARTs."""
    reader = family_of_model(model).reader(model)
    ids = torch.arange(4, device=model.device)[None]
    if takes_global_attention(model) or not torch.equal(
        adapted.word_embeddings(ids), reader.get_input_embeddings()(ids)
    ):
        raise ModelError(
            "prompt_tuning does not suit this model, whose embeddings or attention peft handles in another way (got "
            f"model_type {model.config.model_type!r}); use `adapter: lora` or ia3"
        )


def train_quantized(model: PreTrainedModel, gradient_checkpointing: bool) -> PreTrainedModel:
    """Return a quantized model that is prepared for training with an adapter.

    Args:
        model: loaded with a quantization.
        gradient_checkpointing: whether the backward pass computes the activations again.
    """
    from peft import prepare_model_for_kbit_training

    ready: PreTrainedModel = prepare_model_for_kbit_training(model, use_gradient_checkpointing=gradient_checkpointing)
    return ready


def _peft_config(model: PreTrainedModel, adapter: Adapter, tokenizer: Path | None) -> PeftConfig:
    from peft import IA3Config, LoraConfig, PromptTuningConfig

    task = family_of_model(model).task_type()
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    match adapter:
        case Lora():
            return LoraConfig(
                task_type=task,
                r=adapter.r,
                lora_alpha=adapter.alpha,
                lora_dropout=adapter.dropout,
                target_modules=adapter.targets,
                use_dora=adapter.dora,
                use_rslora=adapter.rslora,
                init_lora_weights=adapter.init or True,
                fan_in_fan_out=transposed,
            )
        case Ia3():
            # peft matches a list with the ends of names regardless of dots: o would also match wo.
            inputs = rf"(.*\.)?({'|'.join(map(re.escape, adapter.feedforward))})" if adapter.feedforward else []
            return IA3Config(
                task_type=task,
                target_modules=adapter.targets,
                feedforward_modules=inputs,
                fan_in_fan_out=transposed,
            )
        case PromptTuning():
            return PromptTuningConfig(
                task_type=task,
                num_virtual_tokens=adapter.tokens,
                num_transformer_submodules=1,  # of an encoder-decoder model, the encoder alone
                prompt_tuning_init="SAMPLE_VOCAB" if adapter.text is None else "TEXT",
                prompt_tuning_init_text=adapter.text,
                tokenizer_name_or_path=None if adapter.text is None else str(tokenizer),
            )
        case _:
            assert_never(adapter)


def starting_value(name: str) -> float | None:
    """Return the value of every element of a weight before training; None if it is initialized at random.

    Args:
        name: of an adapter's weight, as stored.
    """
    return next((value for part, value in _STARTING_VALUES.items() if part in name.split(".")), None)


def with_trained(
    model: PreTrainedModel, adapter: Adapter, folder: Path, quantized: bool, dtype: torch.dtype
) -> PreTrainedModel | PeftModel:
    """Return a model that generates with a trained adapter.

    Merged weights generate as fast as the base model does. They are merged in fp32: in bf16 most of a small update is
    lost to rounding, and in four bits all of it, so that there the adapter stays apart.

    Args:
        model: the base; in fp32 unless it is quantized.
        adapter: from the plan.
        folder: of the trained adapter.
        quantized: whether the base has weights of four bits.
        dtype: of the weights that generate.
    """
    match adapter:
        case PromptTuning():
            add_virtual_tokens(family_of_model(model).reader(model), folder)
            return model if quantized else model.to(dtype)
        case Lora() | Ia3():
            adapted = load_adapter(model, folder)
            if quantized:
                return adapted
            merged: PreTrainedModel = adapted.merge_and_unload()
            return merged.to(dtype)
        case _:
            assert_never(adapter)


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Return ``model`` with the trained adapter in ``folder``."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, local_files_only=True)
