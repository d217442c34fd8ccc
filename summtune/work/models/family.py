"""The protocol of a family of models: everything that differs between families in training and generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from summtune.work.tokens.pairs import Pair


class BatchNeeds(NamedTuple):
    """What batches need from a model.

    Args:
        padding: id of the token that pads a batch.
        start: id from which a summary starts; None where it continues the prompt.
        ends: ids that end a summary, the first one as the model's files name them.
        most_prompt_tokens: positions for a prompt; None if there is no limit.
        most_summary_tokens: positions for a summary; None if there is no limit.
    """

    padding: int
    start: int | None
    ends: tuple[int, ...]
    most_prompt_tokens: int | None = None
    most_summary_tokens: int | None = None


class ModelFamily(Protocol):
    """What differs between families and needs torch; each family is a module with these functions.

    The part that needs no torch is `summtune.recipe.families.facts.FamilyFacts`.
    """

    def task_type(self) -> str:
        """Return peft's name for the task of such a model."""
        ...

    def load(self, folder: Path, config: PretrainedConfig, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
        """Return the model in ``folder``; only safetensors are read, and no code from the folder is run.

        Args:
            folder: with safetensors.
            config: of the model.
            dtype: of the weights.
            options: further arguments of `from_pretrained`.

        Raises:
            OSError, ValueError, RuntimeError, SafetensorError: the files cannot be read.
        """
        ...

    def reader(self, model: PreTrainedModel) -> Any:
        """Return the part of the model that embeds and reads a prompt."""
        ...

    def note(self, model: PreTrainedModel) -> str | None:
        """Return what a user should know about how the model reads its prompts; None if there is nothing."""
        ...

    def example(self, pair: Pair) -> Pair:
        """Return the training example of a pair: what the model reads, and on which tokens it is scored.

        Args:
            pair: token ids of a prompt and of its summary.
        """
        ...

    def collator(
        self, model: PreTrainedModel, needs: BatchNeeds, multiple: int = 1
    ) -> Callable[[Sequence[Pair]], dict[str, torch.Tensor]]:
        """Return the collator that makes a micro batch of training examples: the inputs of ``model``, and ``labels``.

        ``labels`` (batch, tokens) are at the positions of the logits that are scored against them, -100 elsewhere.

        Args:
            model: to train.
            needs: of the model.
            multiple: lengths are padded to a multiple of this, as far as the model has positions.
        """
        ...

    def special_tokens(self, model: PreTrainedModel) -> dict[str, Any]:
        """Return the settings of `GenerationConfig` that only this family needs."""
        ...

    def prompts(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]]
    ) -> Mapping[str, torch.Tensor]:
        """Return a batch of prompts on the model's device, padded on the side that suits the family.

        Args:
            model: on the device that generates.
            tokenizer: pads the batch.
            prompts: token ids.
        """
        ...

    def generate(
        self,
        model: PreTrainedModel,
        batch: Mapping[str, torch.Tensor],
        config: GenerationConfig,
        stopping: StoppingCriteriaList | None = None,
    ) -> torch.Tensor:
        """Return the generated tokens, (rows, new tokens), without the prompt and the start token.

        Args:
            model: on the device that generates.
            batch: from `prompts`.
            config: with max_new_tokens set.
            stopping: further criteria that end a row.
        """
        ...

    def decoder_start(self, batch: Mapping[str, torch.Tensor]) -> int:
        """Return the number of tokens before the first one that is generated, in what `generate` of transformers
        returns.
        """
        ...
