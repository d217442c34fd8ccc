"""Lets a T5 model use the operations of `summtune.work.cpu.kernels`, without a change of weights or results."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask
from transformers.models.t5 import modeling_t5 as t5

from summtune.work.cpu import compiled_passes, library
from summtune.work.cpu import kernels as cpu_kernels

_NAME = "summtune_cpu"


def quicken(model: PreTrainedModel, say: Callable[[str], None]) -> None:
    """Give a T5 model on a CPU faster forward and backward passes; other models are not changed.

    Without compiled passes, or with weights of a type that they do not take, a T5 is not changed either.

    Args:
        model: as transformers loads it, before an adapter is added or after it is merged.
        say: receives the reason if nothing can be compiled.
    """
    if model.config.model_type != "t5" or not compiled_passes.can_take(model.dtype):
        return
    reason = library.why_not()
    if reason is not None:
        say(f"T5 uses transformers' own modules, which are slower on a CPU than compiled passes (got {reason})")
        return
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, eager_mask)
    for part in (model, model.get_encoder(), model.get_decoder()):  # up to transformers 5.19 each has its own config
        part.set_attn_implementation(_NAME)
    for module in model.modules():
        if isinstance(module, t5.T5LayerNorm):
            module.forward = MethodType(_rms_norm, module)
        elif isinstance(module, t5.T5DenseGatedActDense):
            module.forward = MethodType(_gated_layer, module)
        elif isinstance(module, t5.T5Attention) and module.has_relative_attention_bias:
            module.compute_bias = MethodType(_relative_bias, module)
        elif isinstance(module, (t5.T5LayerFF, t5.T5LayerSelfAttention, t5.T5LayerCrossAttention, t5.T5Stack)):
            # Its result is added to the residual stream, which has the type of the weights.
            module.dropout = _ResidualDropout(module.dropout.p, model.dtype).train(module.training)


class _ResidualDropout(nn.Dropout):
    def __init__(self, probability: float, dtype: torch.dtype) -> None:
        super().__init__(probability)
        self.dtype = dtype

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        # Only under autocast do the stream and the products differ in type; DeepSpeed may have cast all weights since.
        dtype = self.dtype if torch.is_autocast_enabled("cpu") else values.dtype
        return cpu_kernels.dropout(values, self.p, dtype) if self.training and self.p else values.to(dtype)


def _rms_norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    # Matrix products read the result: under autocast it is cast to their type once for all of them.
    dtype: torch.dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.weight.dtype
    return cpu_kernels.rms_norm(hidden_states, self.weight, self.variance_epsilon, dtype)


def _gated_layer(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    gate, linear = self.wi_0(hidden_states), self.wi_1(hidden_states)
    probability = self.dropout.p if self.training else 0.0
    if type(self.act).__name__ == "NewGELUActivation":  # eight operations in transformers
        hidden_states = cpu_kernels.gated_gelu(gate, linear, probability)
    else:
        hidden_states = self.act(gate) * linear
        hidden_states = cpu_kernels.dropout(hidden_states, probability) if probability else hidden_states
    if hidden_states.dtype != self.wo.weight.dtype and not torch.is_autocast_enabled("cpu"):
        hidden_states = hidden_states.to(self.wo.weight.dtype)
    result: torch.Tensor = self.wo(hidden_states)
    return result


def _relative_bias(
    self: Any, query_length: int, key_length: int, device: Any = None, past_seen_tokens: int = 0
) -> torch.Tensor:
    if not self.training:
        stock: torch.Tensor = t5.T5Attention.compute_bias(self, query_length, key_length, device, past_seen_tokens)
        return stock
    positions = torch.arange(1 - query_length, key_length)
    buckets = self._relative_position_bucket(
        positions,
        bidirectional=not self.is_decoder,
        num_buckets=self.relative_attention_num_buckets,
        max_distance=self.relative_attention_max_distance,
    )
    diagonals = self.relative_attention_bias(buckets).t()
    return cpu_kernels.from_diagonals(diagonals, query_length, key_length).unsqueeze(0)


def _attention(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    # Products of views are slow: 3 ms instead of 0.3 for 32 queries of one token each.
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    if query.shape[2] == 1 and not dropout and not torch.is_grad_enabled():
        result = compiled_passes.decode_attention(query, key, value, position_bias, attention_mask)
    else:
        result = cpu_kernels.attention(query, key, value, position_bias, attention_mask, dropout)
    return result.transpose(1, 2).contiguous(), None
