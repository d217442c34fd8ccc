"""Greedy generation on a CPU that drops rows which have ended."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import EosTokenCriteria, GenerationConfig, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

_LEFT = 0.75  # finished rows are dropped when at most this share of the rows is unfinished
_FEW = 4  # up to this many rows stay together until the last one ends


class Begun(Protocol):
    """Rows of which the model has read a part, or nothing yet; each family has its own inputs."""

    def inputs(self, tokens: torch.Tensor) -> dict[str, Any]:
        """Return the inputs of `model.generate` apart from the cache.

        Args:
            tokens: what each row begins with, (rows, tokens).
        """
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Drop the rows that are not named."""
        ...


def takes_one_path(model: PreTrainedModel, config: GenerationConfig) -> bool:
    """Return whether finished rows can be dropped: one path per row, no sampling, on a CPU, where this is faster."""
    one_path = (config.num_beams or 1) == 1 and not config.do_sample
    ends = config.eos_token_id not in (None, []) and config.pad_token_id is not None
    return one_path and ends and model.device.type == "cpu"


def generate_greedily(
    model: PreTrainedModel,
    begun: Begun,
    tokens: torch.Tensor,
    config: GenerationConfig,
    stopping: Sequence[StoppingCriteria] = (),
    cache: Any = None,
) -> torch.Tensor:
    """Return the tokens that `model.generate` adds, (rows, new tokens), without further steps of finished rows.

    transformers computes all steps for all rows until the last row ends. Here it stops when a quarter of the rows has
    ended, and resumes with the others from its own cache.

    Args:
        model: on a CPU.
        begun: inputs of the rows.
        tokens: what each row begins with, (rows, tokens).
        config: for which `takes_one_path`.
        stopping: further criteria that end a row.
        cache: of the first tokens of all rows; None if nothing has been computed.
    """
    rows, start = torch.arange(len(tokens)), tokens.shape[1]
    width = start + config.max_new_tokens
    written = torch.full((len(tokens), config.max_new_tokens), config.pad_token_id)
    while len(rows):
        stage = copy.deepcopy(config)
        stage.max_new_tokens = width - tokens.shape[1]
        stage.return_dict_in_generate = True
        few_left = _FewLeft(config, stopping)
        output: Any = model.generate(
            **begun.inputs(tokens),
            **({} if cache is None else {"past_key_values": cache}),
            generation_config=stage,
            stopping_criteria=StoppingCriteriaList([few_left]),
        )
        tokens, cache = output.sequences, output.past_key_values
        written[rows, : tokens.shape[1] - start] = tokens[:, start:]
        left = few_left.rows() if tokens.shape[1] < width else rows[:0]
        rows, tokens = rows[left], tokens[left]
        begun.keep(left)
        cache.batch_select_indices(left)
    return written


class _FewLeft(StoppingCriteria):
    """Ends the rows that end, and all rows once so many have ended that it is faster to resume without them."""

    def __init__(self, config: GenerationConfig, others: Sequence[StoppingCriteria]) -> None:
        self.criteria = [EosTokenCriteria(config.eos_token_id), *others]
        self.ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        for criterion in self.criteria:
            now = criterion(input_ids, scores)
            self.ended = now if self.ended is None else self.ended | now
        assert self.ended is not None
        return self.ended | (len(self.ended) > _FEW and len(self.rows()) <= _LEFT * len(self.ended))

    def rows(self) -> torch.Tensor:
        """Return which rows have not ended."""
        assert self.ended is not None
        return (~self.ended).nonzero().flatten()
