"""Greedy generation of an encoder-decoder on a CPU: rows that have ended are left out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import EosTokenCriteria, GenerationConfig, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

_LEFT = 0.75  # when at most this share of the rows is unfinished, the finished rows are left out
_FEW = 4  # so few rows stay together until the last one ends


def takes_one_path(model: PreTrainedModel, config: GenerationConfig) -> bool:
    """Return whether finished rows can be left out: one path a row, no sampling, and on a CPU, where it is faster."""
    one_path = (config.num_beams or 1) == 1 and not config.do_sample
    ends = config.eos_token_id not in (None, []) and config.pad_token_id is not None
    return one_path and ends and isinstance(config.decoder_start_token_id, int) and model.device.type == "cpu"


def generate_greedily(
    model: PreTrainedModel, batch: Mapping[str, torch.Tensor], config: GenerationConfig
) -> torch.Tensor:
    """Return tokens of shape (rows, tokens) as `model.generate` does; finished rows take no part in further steps.

    transformers takes all rows through all steps until the last one ends. Here it is stopped when a quarter of them
    has ended, and resumes with the others from its own cache.
    """
    mask, encoded, cache = batch["attention_mask"], model.get_encoder()(**batch), None
    rows = torch.arange(len(mask))
    tokens = torch.full((len(mask), 1), config.decoder_start_token_id)
    written = torch.full((len(mask), 1 + config.max_new_tokens), config.pad_token_id)
    while len(rows):
        stage = copy.deepcopy(config)
        stage.max_new_tokens = written.shape[1] - tokens.shape[1]
        stage.return_dict_in_generate = True
        before: dict[str, Any] = {}
        if cache is not None:
            before = {"past_key_values": cache, "decoder_attention_mask": torch.ones_like(tokens)}
        few_left = _FewLeft(config)
        output: Any = model.generate(
            encoder_outputs=encoded,
            attention_mask=mask,
            decoder_input_ids=tokens,
            generation_config=stage,
            stopping_criteria=StoppingCriteriaList([few_left]),
            **before,
        )
        tokens, cache = output.sequences, output.past_key_values
        written[rows, : tokens.shape[1]] = tokens
        left = few_left.rows() if tokens.shape[1] < written.shape[1] else rows[:0]
        rows, tokens, mask = rows[left], tokens[left], mask[left]
        encoded.last_hidden_state = encoded.last_hidden_state[left]
        cache.batch_select_indices(left)
    return written


class _FewLeft(StoppingCriteria):
    """Ends all rows as soon as so many have ended that it is faster to resume without these."""

    def __init__(self, config: GenerationConfig) -> None:
        self.ends = EosTokenCriteria(config.eos_token_id)
        self.ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        now = self.ends(input_ids, scores)
        self.ended = now if self.ended is None else self.ended | now
        return torch.full_like(now, len(now) > _FEW and len(self.rows()) <= _LEFT * len(now))

    def rows(self) -> torch.Tensor:
        """Return which rows have not ended."""
        assert self.ended is not None
        return (~self.ended).nonzero().flatten()
