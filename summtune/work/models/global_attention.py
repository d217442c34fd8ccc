"""Global attention: encoders with an attention window let the first token of a prompt attend to the whole prompt."""

from __future__ import annotations

import inspect
from typing import Any

import torch

GLOBAL_ATTENTION = "global attention on the first token of each prompt, as LED was trained for summarization"


def takes_global_attention(model: torch.nn.Module) -> bool:
    """Return whether the encoder attends within a window, except for tokens with global attention.

    LED and Longformer do. Without such tokens they still run, but see no further than the window. LED was trained for
    summarization with global attention on the first token of the prompt (Beltagy et al., 2020, section 7).
    """
    get_encoder: Any = model.get_encoder
    return "global_attention_mask" in inspect.signature(get_encoder().forward).parameters


def first_token_sees_all(input_ids: torch.Tensor) -> torch.Tensor:
    """Return the global attention mask of prompts, of shape (batch, source): 1 on the first token of each, else 0."""
    mask = torch.zeros_like(input_ids)
    mask[:, 0] = 1
    return mask
