"""Greedy generation of an encoder-decoder on a CPU, which drops rows that have ended."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import EosTokenCriteria, GenerationConfig, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

_LEFT = 0.75  # finished rows are dropped when at most this share of the rows is unfinished
_FEW = 4  # up to this many rows stay together until the last one ends


def takes_one_path(model: PreTrainedModel, config: GenerationConfig) -> bool:
    """Return whether finished rows can be dropped: one path per row, no sampling, on a CPU, where this is faster."""
    one_path = (config.num_beams or 1) == 1 and not config.do_sample
    ends = config.eos_token_id not in (None, []) and config.pad_token_id is not None
    return one_path and ends and isinstance(config.decoder_start_token_id, int) and model.device.type == "cpu"


def generate_greedily(
    model: PreTrainedModel, batch: Mapping[str, torch.Tensor], config: GenerationConfig
) -> torch.Tensor:
    """Return the same tokens, (rows, tokens), as `model.generate`, without computing further steps of finished rows.

    transformers computes all steps for all rows until the last row ends. Here it stops when a quarter of the rows has
    ended, and resumes with the others from its own cache.
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
    """Ends all rows once so many have ended that it is faster to resume without them."""

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
