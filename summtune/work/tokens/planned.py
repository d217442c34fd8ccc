"""Builds the encoder of a run's prompts from its plan: the same one for training and for generation."""

from __future__ import annotations

from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from summtune.plan.plan import RunPlan
from summtune.recipe.families import facts_about
from summtune.work.tokens.encoding import PromptEncoder


def encoder_of(plan: RunPlan, tokenizer: PreTrainedTokenizerBase) -> PromptEncoder:
    """Return what encodes the prompts of a run.

    Args:
        plan: of the run.
        tokenizer: of its model.
    """
    recipe = plan.recipe
    continued = facts_about(plan.model.family).continues_prompt()
    return PromptEncoder(tokenizer, plan.prompt, recipe.sequence_len, recipe.long_dialogues, continued)


def asking_encoder_of(plan: RunPlan, tokenizer: PreTrainedTokenizerBase) -> PromptEncoder:
    """Return the same for prompts that are answered: dialogues that are too long to train on are cut there."""
    encoder = encoder_of(plan, tokenizer)
    return replace(encoder, long_dialogues="truncate_end") if encoder.long_dialogues == "drop" else encoder
