"""Checks, before any weight is loaded, that a model and its tokenizer can do what a recipe asks of them."""

from __future__ import annotations

from pathlib import Path

from transformers import GenerationConfig, PreTrainedTokenizerBase

from summtune.base.errors import ModelError
from summtune.machine.model_limits import ModelFacts, misfits
from summtune.recipe.adapters import virtual_tokens
from summtune.recipe.keys import LocalRecipe
from summtune.work.models.family import BatchNeeds
from summtune.work.models.loading import load_config, padding_of


def check_model(folder: Path, tokenizer: PreTrainedTokenizerBase, recipe: LocalRecipe) -> BatchNeeds:
    """Return what batches need from the model, after checking that it can do what the recipe asks.

    `summtune validate` has checked the files as they are; here the defaults of their classes are filled in, and the
    tokenizer is loaded.

    Args:
        folder: of the model.
        tokenizer: loaded from it.
        recipe: of kind prompt or train.

    Raises:
        ModelError: lengths, tokens without an embedding, or missing special tokens; names all of them.
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
    if recipe.kind == "train" and not problems and not facts.about.continues_prompt():
        problems += _never_ends(facts, tokenizer)
    if problems:
        raise ModelError("\n".join(problems))
    about = facts.about
    prompt, summary = about.prompt_limit(facts.config), about.summary_limit(facts.config)
    return BatchNeeds(
        padding_of(tokenizer),
        facts.start,
        facts.ends,
        prompt and prompt.tokens - virtual_tokens(recipe),
        summary and summary.tokens,
    )


def _never_ends(facts: ModelFacts, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the problem if the training summaries end with another token than generation does."""
    written = tokenizer("A.")["input_ids"]
    if set(written[-2:]) & set(facts.ends):  # mBART writes the language after the end
        return []
    tokens, ends = (tokenizer.convert_ids_to_tokens(list(ids)) for ids in (written, facts.ends))
    return [
        f"the model would never learn to end a summary (got the tokens {tokens} for 'A.', but generation ends at "
        f"{ends}); correct the post-processor in {facts.folder / 'tokenizer.json'}, or eos_token_id in config.json"
    ]
