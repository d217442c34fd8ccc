"""What training and generation have to know of each family of models, as one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from summtune.work.tokens.pairs import Pair


class BatchNeeds(NamedTuple):
    """What must be known of a model to make batches for it.

    Args:
        padding: id of the token that fills a batch.
        start: id that a summary starts from.
        end: id that ends a summary.
        most_prompt_tokens: that the model has positions for; None where any length is taken.
        most_summary_tokens: the same of a summary.
    """

    padding: int
    start: int
    end: int
    most_prompt_tokens: int | None = None
    most_summary_tokens: int | None = None


class ModelFamily(Protocol):
    """What differs between families in a process that has torch; a module for each family.

    The part that needs no torch is `summtune.recipe.families.facts.FamilyFacts`.
    """

    def task_type(self) -> str:
        """Return the name that peft has for what such a model does."""
        ...

    def load(self, folder: Path, config: PretrainedConfig, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
        """Return the model in ``folder``: safetensors only, no code from the folder is run.

        Args:
            folder: with safetensors.
            config: of the model.
            dtype: of the weights.
            options: further ones of `from_pretrained`.

        Raises:
            OSError, ValueError, RuntimeError, SafetensorError: the files cannot be read.
        """
        ...

    def note(self, model: PreTrainedModel) -> str | None:
        """Return what a person should know of how the model reads its prompts; None where there is nothing."""
        ...

    def example(self, pair: Pair) -> Pair:
        """Return the training example of a pair: what the model reads, and what it is scored on.

        Args:
            pair: the token ids of a prompt, and of the summary that the model shall write.
        """
        ...

    def collator(
        self, model: PreTrainedModel, needs: BatchNeeds, multiple: int = 1
    ) -> Callable[[Sequence[Pair]], dict[str, torch.Tensor]]:
        """Return what makes a micro batch of training examples: the inputs of ``model``, and ``labels``.

        ``labels`` (batch, tokens) are in the places of the logits that are scored against them, and -100 elsewhere.

        Args:
            model: that is trained.
            needs: of the model.
            multiple: lengths are padded to a multiple of this, as far as the model has positions.
        """
        ...

    def special_tokens(self, model: PreTrainedModel) -> dict[str, Any]:
        """Return settings of `GenerationConfig` that a model of this family needs besides those that all have."""
        ...

    def prompts(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]]
    ) -> Mapping[str, torch.Tensor]:
        """Return a batch of prompts on the model's device, padded on the side that the family generates from.

        Args:
            model: on the device that generates.
            tokenizer: pads the batch.
            prompts: token ids.
        """
        ...

    def generate(
        self, model: PreTrainedModel, batch: Mapping[str, torch.Tensor], config: GenerationConfig
    ) -> torch.Tensor:
        """Return what the model writes, (rows, new tokens): neither the prompt nor what a summary starts from.

        Args:
            model: on the device that generates.
            batch: as `prompts` returns it.
            config: with max_new_tokens set.
        """
        ...
