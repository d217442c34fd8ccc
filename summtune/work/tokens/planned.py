"""Builds the encoder of a run's prompts from its plan: the same one for training and for generation."""

from __future__ import annotations

from typing import Literal

from transformers import PreTrainedTokenizerBase

from summtune.plan.plan import RunPlan
from summtune.recipe.families import facts_about
from summtune.work.tokens.encoding import PromptEncoder


def encoder_of(
    plan: RunPlan,
    tokenizer: PreTrainedTokenizerBase,
    long_dialogues: Literal["truncate_end", "truncate_start", "drop"] | None = None,
) -> PromptEncoder:
    """Return what encodes the prompts of a run.

    Args:
        plan: of the run.
        tokenizer: of its model.
        long_dialogues: what to do with dialogues that do not fit; default: what the recipe says.
    """
    return PromptEncoder(
        tokenizer,
        plan.prompt,
        plan.recipe.sequence_len,
        long_dialogues or plan.recipe.long_dialogues,
        facts_about(plan.model.family).continues_prompt(),
    )
