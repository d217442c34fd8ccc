"""Ends a summary at a text, such as the blank line after which a base model begins another example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from summtune.plan.plan import LocalPlan, PromptPlan
from summtune.prompts.formats import TextFormat
from summtune.prompts.templates import BETWEEN_EXEMPLARS
from summtune.recipe.families import facts_about


class StopTexts(StoppingCriteria):
    """Ends each row that has written one of the texts; unlike `StopStringCriteria`, it does not read the prompt.

    Args:
        tokenizer: decodes what is written.
        texts: that end a summary, at least one.
        start: tokens of the longest prompt, or of the decoder's start.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], start: int) -> None:
        self.tokenizer = tokenizer
        self.texts = texts
        self.start = start
        # A token is at least one byte; the last tokens that hold a text may begin in the middle of a character.
        self.tokens = max(len(text.encode()) for text in texts) + 4

    def __call__(self, input_ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return which rows have written one of the texts, of shape (rows,)."""
        last = input_ids[:, max(self.start, input_ids.shape[1] - self.tokens) :]
        written = self.tokenizer.batch_decode(last)
        ended = [any(text in row for text in self.texts) for row in written]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


def before_stop(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return a summary up to the first of the texts that end it, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def stops_of(plan: LocalPlan) -> Sequence[str]:
    """Return the texts that end a summary.

    A base model that is shown plain text continues it with another example, unless it was trained to end a summary.
    """
    stops = plan.recipe.generation.stop
    if stops is not None:
        return stops
    continues = facts_about(plan.model.family).continues_prompt() and isinstance(plan.prompt, TextFormat)
    return (BETWEEN_EXEMPLARS,) if continues and isinstance(plan, PromptPlan) else ()
