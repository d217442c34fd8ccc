"""Builds the encoder of a run's prompts from its plan: the same one for training and for generation."""

from __future__ import annotations

from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from summtune.base.errors import ModelError
from summtune.plan.plan import LocalPlan
from summtune.prompts.chat_template import variables_of
from summtune.prompts.formats import ChatFormat
from summtune.recipe.families import facts_about
from summtune.work.tokens.encoding import PromptEncoder


def encoder_of(plan: LocalPlan, tokenizer: PreTrainedTokenizerBase) -> PromptEncoder:
    """Return what encodes the prompts of a run.

    Args:
        plan: of the run.
        tokenizer: of its model.

    Raises:
        ModelError: the chat template writes a special token that the model's files do not name, or name in another way
            than transformers does.
    """
    recipe = plan.recipe
    if isinstance(plan.prompt, ChatFormat):
        _check_special_tokens(plan.prompt, tokenizer, plan.model.folder)
    continued = facts_about(plan.model.family).continues_prompt()
    return PromptEncoder(tokenizer, plan.prompt, recipe.sequence_len, recipe.long_dialogues, continued)


def _check_special_tokens(form: ChatFormat, tokenizer: PreTrainedTokenizerBase, folder: str) -> None:
    """Check that a template writes the tokens that it would write in transformers, which knows defaults of classes."""
    named = tokenizer.special_tokens_map
    for name in sorted(variables_of(form.chat_template, form.source) & (named.keys() | form.special_tokens.keys())):
        if str(named.get(name, "")) != form.special_tokens.get(name, ""):
            raise ModelError(
                f"the chat template writes {name}, which the tokenizer's files do not name as transformers does (got "
                f"{form.special_tokens.get(name)!r} in {folder}, {named.get(name)!r} in transformers); add it to "
                "tokenizer_config.json"
            )


def asking_encoder_of(plan: LocalPlan, tokenizer: PreTrainedTokenizerBase) -> PromptEncoder:
    """Return the same for prompts that are answered: dialogues that are too long to train on are cut there."""
    encoder = encoder_of(plan, tokenizer)
    return replace(encoder, long_dialogues="truncate_end") if encoder.long_dialogues == "drop" else encoder
