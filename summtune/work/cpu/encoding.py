"""Lets a T5 that only generates encode a few prompts at a time, without the padding of the others."""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.t5 import modeling_t5 as t5

_TOKENS_AT_ONCE = 1536  # their activations fit a core's cache


def encode_in_parts(model: PreTrainedModel) -> None:
    """Let a T5 model that only generates encode a few rows at a time, each part without the padding of the others.

    Not for training or its evaluation: under ZeRO-3 all ranks must call every layer equally often.
    """
    if model.config.model_type == "t5":
        encoder = model.get_encoder()
        encoder.forward = MethodType(_encode, encoder)


def _encode(
    self: Any, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **kwargs: Any
) -> Any:
    """Encode a few rows at a time, where no gradient is wanted.

    transformers looks at the names of the parameters: `kwargs` says that all others are taken too.
    """
    whole = torch.is_grad_enabled() or input_ids is None or attention_mask is None or attention_mask.dim() != 2
    if whole or kwargs.get("output_hidden_states") or kwargs.get("output_attentions"):
        return t5.T5Stack.forward(self, input_ids=input_ids, attention_mask=attention_mask, **kwargs)
    assert input_ids is not None
    assert attention_mask is not None
    lengths = _lengths_of(attention_mask != 0)
    states: torch.Tensor | None = None
    for start, end in _parts(lengths, _TOKENS_AT_ONCE):
        longest = max(lengths[start:end])
        rows = (slice(start, end), slice(longest))
        output = t5.T5Stack.forward(self, input_ids=input_ids[rows], attention_mask=attention_mask[rows], **kwargs)
        part = output.last_hidden_state
        if states is None:
            states = part.new_zeros(*input_ids.shape, part.shape[-1])
        states[rows] = part
    return type(output)(last_hidden_state=states)


def _lengths_of(seen: torch.Tensor) -> list[int]:
    """Return the length up to the last visible token, at least 1, for each row of a boolean (rows, tokens)."""
    ends = (seen * torch.arange(1, seen.shape[1] + 1)).amax(1).clamp(min=1)
    result: list[int] = ends.tolist()
    return result


def _parts(lengths: list[int], tokens: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of parts of rows that have at most so many tokens when padded, or one row."""
    start, longest = 0, 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if place > start and longest * (place + 1 - start) > tokens:
            yield start, place
            start, longest = place, length
    yield start, len(lengths)
