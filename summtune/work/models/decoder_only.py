"""Decoder-only models: prompt and summary are one sequence, and the logits of the summary's tokens are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from summtune.work.models.caches import cache_of_attention
from summtune.work.models.family import BatchNeeds
from summtune.work.models.greedy import generate_greedily, takes_one_path
from summtune.work.models.shared_prefix import with_shared_prefix
from summtune.work.models.stored_head import head_as_stored
from summtune.work.models.text_part import has_text_part, load_text_part
from summtune.work.tokens.pairs import IGNORED, Pair


def task_type() -> str:
    """Return peft's name for the task of such a model."""
    return "CAUSAL_LM"


def load(folder: Path, config: PretrainedConfig, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
    """Return the model in ``folder``, or its text part; lm_head is apart from the embedding if the files say so."""
    local = {"dtype": dtype, "local_files_only": True, "use_safetensors": True, "trust_remote_code": False, **options}
    if has_text_part(config):
        return load_text_part(folder, config, **local)
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    with head_as_stored(model_class, folder, copies_count=False):
        return AutoModelForCausalLM.from_pretrained(folder, **local)


def reader(model: PreTrainedModel) -> Any:
    """Return the model."""
    return model


def note(_model: PreTrainedModel) -> str | None:
    """Return None: there is nothing to know."""
    return None


def example(pair: Pair) -> Pair:
    """Return the sequence without its last token, and labels where the logits of the summary's tokens are.

    The logits at a position predict the next token: those of the prompt's last token predict the summary's first. So
    nothing is shifted later, and every label is at the position of the logits that are scored against it.
    """
    prompt, summary = list(pair["input_ids"]), list(pair["labels"])
    return Pair(input_ids=[*prompt, *summary[:-1]], labels=[*[IGNORED] * (len(prompt) - 1), *summary])


def collator(_model: PreTrainedModel, needs: BatchNeeds, multiple: int = 1) -> Collator:
    """Return the collator that pads examples."""
    return Collator(needs.padding, multiple, needs.most_prompt_tokens)


class Collator:
    """Pads a micro batch on the right to its longest member.

    A token attends only to earlier ones, so none of them sees the padding and no mask is needed; without one, attention
    takes less memory.

    Args:
        pad: id of the padding token.
        multiple: lengths are padded to a multiple of this (8 suits tensor cores), as far as the model has positions.
        most_tokens: positions; None if there is no limit.
    """

    def __init__(self, pad: int, multiple: int = 1, most_tokens: int | None = None) -> None:
        self.pad = pad
        self.multiple = multiple
        self.most_tokens = most_tokens

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """Return input_ids and labels, both (batch, tokens)."""
        longest = max(len(pair["input_ids"]) for pair in pairs)
        width = longest + -longest % self.multiple
        if self.most_tokens is not None and width > self.most_tokens:
            width = longest
        return {
            "input_ids": _padded([pair["input_ids"] for pair in pairs], self.pad, width),
            "labels": _padded([pair["labels"] for pair in pairs], IGNORED, width),
        }


def _padded(rows: Sequence[Sequence[int]], value: int, width: int) -> torch.Tensor:
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def special_tokens(_model: PreTrainedModel) -> dict[str, Any]:
    """Return no settings."""
    return {}


def prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]]
) -> Mapping[str, torch.Tensor]:
    """Return the prompts padded on the left, so that each one ends where its summary starts."""
    width = max(map(len, prompts))
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = [[*[padding or 0] * (width - len(prompt)), *prompt] for prompt in prompts]
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    mask = (torch.arange(width) >= width - lengths[:, None]).long()
    return {"input_ids": torch.tensor(ids).to(model.device), "attention_mask": mask.to(model.device)}


def generate(
    model: PreTrainedModel,
    batch: Mapping[str, torch.Tensor],
    config: GenerationConfig,
    stopping: StoppingCriteriaList | None = None,
) -> torch.Tensor:
    """Return the tokens that the model generates after the prompts."""
    inputs, cache = with_shared_prefix(model, batch, config)
    ids = inputs["input_ids"]
    if takes_one_path(model, config) and cache_of_attention(model) is not None:
        return generate_greedily(model, _Prompts(inputs["attention_mask"]), ids, config, stopping or (), cache)
    begun = {} if cache is None else {"past_key_values": cache}
    output: torch.Tensor = model.generate(**inputs, **begun, generation_config=config, stopping_criteria=stopping)
    return output[:, ids.shape[1] :]


class _Prompts:
    """Rows that begin with their prompts."""

    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = mask

    def inputs(self, tokens: torch.Tensor) -> dict[str, Any]:
        written = self.mask.new_ones(len(tokens), tokens.shape[1] - self.mask.shape[1])
        return {"input_ids": tokens, "attention_mask": torch.cat([self.mask, written], dim=1)}

    def keep(self, rows: torch.Tensor) -> None:
        self.mask = self.mask[rows]


def decoder_start(batch: Mapping[str, torch.Tensor]) -> int:
    """Return the number of tokens before the first one that is generated: the width of the prompts."""
    return batch["input_ids"].shape[1]
