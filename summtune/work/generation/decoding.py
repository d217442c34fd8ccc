"""Decodes one batch of prompts with a transformers model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from summtune.generation.generator import Output
from summtune.generation.thinking import opens_thought, split_thinking
from summtune.recipe.sections import Generation
from summtune.work.generation.stop_texts import StopTexts, before_stop
from summtune.work.models.families import family_of_model
from summtune.work.models.on_cpu import quicken
from summtune.work.models.virtual_tokens import virtual_ids

_MARKER_TOKENS = 12
"""Tokens at the end of a prompt that hold a ``<think>`` and line breaks after it, also where it is not one token."""


def place(model: PreTrainedModel, device: torch.device, say: Callable[[str], None]) -> None:
    """Move a model to the device that generates, in the form that is fast there.

    Args:
        model: to be changed in place.
        device: that generates.
        say: receives which tokens have global attention, and what is slow on this machine.
    """
    note = family_of_model(model).note(model)
    if note is not None:
        say(note)
    model.to(device)
    if device.type == "cpu":
        quicken(model, "generation", say)


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    config: GenerationConfig,
    stops: Sequence[str] = (),
    reasons: bool = False,
) -> list[Output]:
    """Return what the model writes for each prompt.

    Args:
        model: on the device that generates.
        tokenizer: pads the batch and decodes.
        prompts: token ids of each; similar lengths waste little on padding.
        config: with max_new_tokens set.
        stops: texts that end a summary, and are not part of it.
        reasons: whether the model continues with a thought where a prompt ends with ``<think>``. A model that was
            trained on summaries after such prompts does not.
    """
    model.generation_config = config  # transformers fills what the given one leaves open from the model's own
    family = family_of_model(model)
    virtual = virtual_ids(family.reader(model))
    batch = family.prompts(model, tokenizer, [[*virtual, *ids] for ids in prompts])
    stopping = [StopTexts(tokenizer, stops, family.decoder_start(batch))] if stops else []
    with torch.inference_mode():
        written = family.generate(model, batch, config, StoppingCriteriaList(stopping))
    ends, rows = _ends(config), written.tolist()
    counts = [next((count for count, token in enumerate(row, 1) if token in ends), None) for row in rows]
    # Not every tokenizer calls the token special that ends a turn, so it is left out here.
    kept = [row if count is None else row[: count - 1] for row, count in zip(rows, counts, strict=True)]
    texts = tokenizer.batch_decode(kept, skip_special_tokens=True)
    forced = config.forced_eos_token_id is not None
    results = []
    for ids, row, tokens, text in zip(prompts, rows, counts, texts, strict=True):
        if stops and before_stop(tokenizer.decode(row[: tokens or len(row)]), stops)[1]:
            text, tokens = before_stop(text, stops)[0], _without_padding(row, config.pad_token_id)
        cut = tokens is None or (forced and tokens == config.max_new_tokens)
        # Whoever ends without closing the thought that the prompt has opened did not think.
        opened = reasons and cut and begins_in_thought(tokenizer, ids)
        answer, thinking = split_thinking(text, opened=opened)
        results.append(
            Output(
                text=answer,
                prompt_tokens=len(ids),
                new_tokens=tokens or len(row),
                hit_length_cap=cut,
                thinking=thinking,
            )
        )
    return results


def begins_in_thought(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int]) -> bool:
    """Return whether a prompt ends with ``<think>``, so that what follows is a thought."""
    return opens_thought(str(tokenizer.decode(prompt[-_MARKER_TOKENS:], skip_special_tokens=True)))


def _without_padding(row: Sequence[int], padding: int | None) -> int:
    """Return the number of tokens of a row that a stop text has ended."""
    return max((count for count, token in enumerate(row, 1) if token != padding), default=0)


def _ends(config: Any) -> list[int]:
    """Return the tokens that end a sequence."""
    ends = getattr(config, "eos_token_id", None)
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def generation_config(model: PreTrainedModel, settings: Generation, ends: Sequence[int] = ()) -> GenerationConfig:
    """Return the recipe's generation settings with the model's special tokens; nothing else comes from the model.

    Args:
        model: that generates.
        settings: of the recipe.
        ends: the ids that end a summary (`summtune.work.tokens.completions.all_ends`); default: those that the model's
            files name.
    """
    own = model.generation_config
    assert own is not None
    special = family_of_model(model).special_tokens(model)
    return settings_without_model(own, model.config, settings, ends, **special)


def settings_without_model(
    own: GenerationConfig, config: PretrainedConfig, settings: Generation, ends: Sequence[int], **special: Any
) -> GenerationConfig:
    """Return the same for a model that is not in memory.

    Args:
        own: the generation settings in the model's files (`summtune.work.models.loading.generation_settings_of`).
        config: of the model.
        settings: of the recipe.
        ends: as for `generation_config`.
        special: further special tokens of the model's family.
    """
    ends = ends or _ends(own) or _ends(config)
    paddings = (own.pad_token_id, getattr(config, "pad_token_id", None), *ends[:1])
    sampling = {"temperature": settings.temperature, "top_p": settings.top_p} if settings.do_sample else {}
    beams = {"length_penalty": settings.length_penalty} if settings.num_beams > 1 else {}
    return GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.num_beams,
        do_sample=settings.do_sample,
        no_repeat_ngram_size=settings.no_repeat_ngram_size or None,
        eos_token_id=list(ends) if len(ends) > 1 else next(iter(ends), None),
        pad_token_id=next((one for one in paddings if one is not None), None),
        bos_token_id=own.bos_token_id,
        forced_bos_token_id=own.forced_bos_token_id,
        forced_eos_token_id=own.forced_eos_token_id,
        **special,
        **sampling,
        **beams,
    )
