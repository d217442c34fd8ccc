"""Lets a model that only generates read the virtual tokens of prompt tuning as tokens of its vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

_FILE = "adapter_model.safetensors"
_NAME = "prompt_embeddings"  # peft's


class VirtualTokens(nn.Module):
    """An embedding with further rows, whose ids follow those of the vocabulary.

    A prompt with virtual tokens is then a prompt like any other. In a batch they come directly before its first token,
    as in training. peft puts them in front of the padding of a batch, so that a text would depend on its batch.

    Args:
        embedding: of the model.
        prompt: (virtual tokens, features), as the model reads them.
    """

    def __init__(self, embedding: Any, prompt: torch.Tensor) -> None:
        super().__init__()
        self.prompt: torch.Tensor
        self.embedding = embedding
        self.register_buffer("prompt", prompt, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The embedding of the vocabulary."""
        weight: torch.Tensor = self.embedding.weight
        return weight

    @property
    def ids(self) -> list[int]:
        """The ids of the virtual tokens."""
        first = len(self.weight)
        return list(range(first, first + len(self.prompt)))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (batch, tokens, features) of the ids (batch, tokens)."""
        first = len(self.weight)
        virtual = ids >= first
        embedded: torch.Tensor = self.embedding(ids.masked_fill(virtual, 0))
        prompts = self.prompt[(ids - first).clamp(min=0)].to(embedded.dtype)
        return torch.where(virtual[..., None], prompts, embedded)


def add_virtual_tokens(reader: Any, folder: Path) -> None:
    """Let the part of a model that reads prompts also read the virtual tokens of a trained adapter.

    Args:
        reader: changed in place.
        folder: of the adapter.
    """
    reader.set_input_embeddings(VirtualTokens(reader.get_input_embeddings(), load_file(folder / _FILE)[_NAME]))


def virtual_ids(reader: Any) -> list[int]:
    """Return the ids that precede every prompt; empty for a model without virtual tokens."""
    embedding = reader.get_input_embeddings()
    return embedding.ids if isinstance(embedding, VirtualTokens) else []
