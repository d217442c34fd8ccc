"""Encoder-decoder models: the encoder reads the prompt, and the decoder gets the summary shifted by one token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from summtune.work.models.family import BatchNeeds
from summtune.work.models.global_attention import GLOBAL_ATTENTION, first_token_sees_all, takes_global_attention
from summtune.work.models.greedy import generate_greedily, takes_one_path
from summtune.work.models.stored_head import head_as_stored
from summtune.work.tokens.pairs import IGNORED, Pair


def task_type() -> str:
    """Return peft's name for the task of such a model."""
    return "SEQ_2_SEQ_LM"


def load(folder: Path, config: PretrainedConfig, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
    """Return the model in ``folder``, its lm_head apart from the embedding if the files hold both."""
    model_class = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING.get(type(config), None)
    with head_as_stored(model_class, folder, copies_count=True):  # the config of a T5 cannot say it
        return AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False, **options
        )


def reader(model: PreTrainedModel) -> Any:
    """Return the encoder."""
    return model.get_encoder()


def note(model: PreTrainedModel) -> str | None:
    """Return a note about the global attention of LED; None for other models."""
    return GLOBAL_ATTENTION if takes_global_attention(model) else None


def example(pair: Pair) -> Pair:
    """Return the pair: the encoder reads the prompt, and the decoder is scored on the whole summary."""
    return pair


def collator(model: PreTrainedModel, needs: BatchNeeds, multiple: int = 1) -> Collator:
    """Return the collator that pads examples and adds the decoder's inputs."""
    assert needs.start is not None, "check_model refuses a model without a start token"
    return Collator(
        needs.padding,
        needs.start,
        multiple,
        needs.most_prompt_tokens,
        needs.most_summary_tokens,
        global_attention=takes_global_attention(model),
    )


class Collator:
    """Pads a micro batch to its longest member.

    The decoder's inputs are the labels shifted right, after the start token. They are passed explicitly because the
    Trainer removes the labels from the model's inputs when it computes the loss itself.

    Args:
        pad: id of the padding token.
        start: id that the decoder starts from.
        multiple: lengths are padded to a multiple of this (8 suits tensor cores), as far as the model has positions.
        most_prompt_tokens: positions for a prompt; None if there is no limit.
        most_summary_tokens: positions for a summary.
        global_attention: add ``global_attention_mask`` (batch, source), which is 1 on the first token of each prompt.
    """

    def __init__(
        self,
        pad: int,
        start: int,
        multiple: int = 1,
        most_prompt_tokens: int | None = None,
        most_summary_tokens: int | None = None,
        global_attention: bool = False,
    ) -> None:
        self.pad = pad
        self.start = start
        self.multiple = multiple
        self.most_prompt_tokens = most_prompt_tokens
        self.most_summary_tokens = most_summary_tokens
        self.global_attention = global_attention

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask (batch, source) and labels, decoder_input_ids (batch, target)."""
        sources = self._padded([pair["input_ids"] for pair in pairs], self.pad, self.most_prompt_tokens)
        lengths = torch.tensor([len(pair["input_ids"]) for pair in pairs])
        labels = self._padded([pair["labels"] for pair in pairs], IGNORED, self.most_summary_tokens)
        shifted = torch.full_like(labels, self.start)
        shifted[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, self.pad)
        batch = {
            "input_ids": sources,
            "attention_mask": (torch.arange(sources.shape[1]) < lengths[:, None]).long(),
            "labels": labels,
            "decoder_input_ids": shifted,
        }
        return batch | ({"global_attention_mask": first_token_sees_all(sources)} if self.global_attention else {})

    def _padded(self, rows: Sequence[Sequence[int]], value: int, most: int | None) -> torch.Tensor:
        longest = max(len(row) for row in rows)
        width = longest + -longest % self.multiple
        if most is not None and width > most:
            width = longest
        return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def special_tokens(model: PreTrainedModel) -> dict[str, Any]:
    """Return the token from which the decoder starts."""
    settings = model.generation_config
    assert settings is not None
    start = settings.decoder_start_token_id
    return {"decoder_start_token_id": getattr(model.config, "decoder_start_token_id", None) if start is None else start}


def prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]]
) -> Mapping[str, torch.Tensor]:
    """Return the encoder's inputs, padded by the tokenizer."""
    padded = tokenizer.pad({"input_ids": list(prompts)}, return_attention_mask=True, return_tensors="pt")
    batch: dict[str, torch.Tensor] = dict(padded.to(model.device))
    if takes_global_attention(model):
        batch["global_attention_mask"] = first_token_sees_all(batch["input_ids"])
    return batch


def generate(
    model: PreTrainedModel,
    batch: Mapping[str, torch.Tensor],
    config: GenerationConfig,
    stopping: StoppingCriteriaList | None = None,
) -> torch.Tensor:
    """Return the tokens that the decoder generates after its start token."""
    start = config.decoder_start_token_id
    if takes_one_path(model, config) and isinstance(start, int):
        begun = _Encoded(batch["attention_mask"], model.get_encoder()(**batch))
        return generate_greedily(model, begun, torch.full((len(begun.mask), 1), start), config, stopping or ())
    output: torch.Tensor = model.generate(**batch, generation_config=config, stopping_criteria=stopping)
    return output[:, 1:]


class _Encoded:
    """Rows whose prompts have been encoded."""

    def __init__(self, mask: torch.Tensor, encoded: Any) -> None:
        self.mask = mask
        self.encoded = encoded

    def inputs(self, tokens: torch.Tensor) -> dict[str, Any]:
        written = {"decoder_attention_mask": torch.ones_like(tokens)} if tokens.shape[1] > 1 else {}
        return {
            "encoder_outputs": self.encoded,
            "attention_mask": self.mask,
            "decoder_input_ids": tokens,
            **written,
        }

    def keep(self, rows: torch.Tensor) -> None:
        self.mask = self.mask[rows]
        self.encoded.last_hidden_state = self.encoded.last_hidden_state[rows]


def decoder_start(_batch: Mapping[str, torch.Tensor]) -> int:
    """Return 1: the decoder starts from one token."""
    return 1
