"""Checks, before any weight is loaded, that a model and its tokenizer can do what a recipe asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from transformers import GenerationConfig, PreTrainedTokenizerBase

from summtune.base.errors import ModelError
from summtune.machine.model_limits import ModelFacts, misfits, prompt_limit, summary_limit
from summtune.recipe.keys import RunRecipe
from summtune.work.models.loading import load_config


class BatchNeeds(NamedTuple):
    """What must be known of a model to make batches for it.

    Args:
        padding: id of the token that fills a batch.
        start: id that the decoder starts from.
        end: id that ends a summary.
        most_prompt_tokens: that the model has positions for; None where any length is taken.
        most_summary_tokens: the same of a summary.
    """

    padding: int
    start: int
    end: int
    most_prompt_tokens: int | None
    most_summary_tokens: int | None


def check_model(folder: Path, tokenizer: PreTrainedTokenizerBase, recipe: RunRecipe) -> BatchNeeds:
    """Return what batches need to know of the model, having found nothing that the recipe asks of the model in vain.

    `summtune validate` has compared the files as they are; here the defaults of their classes are filled in, and the
    tokenizer can be asked.

    Args:
        folder: of the model.
        tokenizer: as loaded from it.
        recipe: what is asked of it.

    Raises:
        ModelError: a length, a token without an embedding or a missing special token; all of them.
    """
    config = load_config(folder)
    try:
        generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError):
        generation = GenerationConfig.from_model_config(config)
    tokens = {text: one for text, one in tokenizer.get_vocab().items() if text != tokenizer.mask_token}
    facts = ModelFacts(
        folder=folder,
        config=config.to_dict(),
        generation=generation.to_dict(),
        last_token=max(tokens.items(), key=lambda token: token[1], default=None),
        special_tokens={"pad_token": tokenizer.pad_token, "eos_token": tokenizer.eos_token},
        loaded=True,
    )
    problems = [message for _, message in misfits(facts, recipe)]
    if recipe.kind == "train" and not problems:
        problems += _never_ends(facts, tokenizer)
    if problems:
        raise ModelError("\n".join(problems))
    assert isinstance(tokenizer.pad_token_id, int)
    assert facts.start is not None
    limits = [limit and limit.tokens for limit in (prompt_limit(facts.config), summary_limit(facts.config))]
    return BatchNeeds(tokenizer.pad_token_id, facts.start, facts.ends[0], *limits)


def _never_ends(facts: ModelFacts, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return what is wrong where the summaries that are trained on end in another way than those that are generated."""
    written = tokenizer("A.")["input_ids"]
    if set(written[-2:]) & set(facts.ends):  # mBART writes the language behind the end
        return []
    tokens, ends = (tokenizer.convert_ids_to_tokens(list(ids)) for ids in (written, facts.ends))
    return [
        f"the model would never learn to end a summary (got the tokens {tokens} for 'A.', and generation ends at "
        f"{ends}); correct the post-processor in {facts.folder / 'tokenizer.json'}, or eos_token_id in config.json"
    ]
