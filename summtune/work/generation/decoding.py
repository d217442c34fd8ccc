"""Decodes one batch of prompts with a transformers model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import (
    EosTokenCriteria,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from summtune.generation.generator import Output
from summtune.recipe.sections import Generation
from summtune.work.cpu.packed_weights import pack_weights
from summtune.work.cpu.t5_on_cpu import encode_in_parts, quicken
from summtune.work.models.global_attention import GLOBAL_ATTENTION, first_token_sees_all, takes_global_attention

_LEFT = 0.75  # when at most this share of the rows is unfinished, the finished rows are left out
_FEW = 4  # so few rows stay together until the last one ends


def place(model: PreTrainedModel, device: torch.device, say: Callable[[str], None]) -> None:
    """Move a model to the device that generates, in the form that is fast there.

    Args:
        model: to be changed in place.
        device: that generates.
        say: told which tokens have global attention, and what is slow on this machine.
    """
    if takes_global_attention(model):
        say(GLOBAL_ATTENTION)
    model.to(device)
    if device.type == "cpu":
        quicken(model, say)
        encode_in_parts(model)
        pack_weights(model)


def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]], config: GenerationConfig
) -> list[Output]:
    """Return what the model writes for each prompt.

    Args:
        model: on the device that generates.
        tokenizer: pads the batch and decodes.
        prompts: token ids of each; similar lengths waste little on padding.
        config: with max_new_tokens set.
    """
    model.generation_config = config  # transformers fills what the given one leaves open from the model's own
    padded = tokenizer.pad({"input_ids": list(prompts)}, return_attention_mask=True, return_tensors="pt")
    batch = padded.to(model.device)
    if takes_global_attention(model):
        batch["global_attention_mask"] = first_token_sees_all(batch["input_ids"])
    with torch.inference_mode():
        if _is_greedy(model, config):
            output = _greedy(model, batch, config)
        else:
            output = model.generate(**batch, generation_config=config)
    texts = tokenizer.batch_decode(output, skip_special_tokens=True)
    ends = _ends(config)
    forced = config.forced_eos_token_id is not None
    results = []
    new = output[:, 1:].tolist()  # the first token is the decoder's start token
    for ids, row, text in zip(prompts, new, texts, strict=True):
        tokens = next((count for count, token in enumerate(row, 1) if token in ends), None)
        cut = tokens is None or (forced and tokens == config.max_new_tokens)
        results.append(
            Output(text=text.strip(), prompt_tokens=len(ids), new_tokens=tokens or len(row), hit_length_cap=cut)
        )
    return results


def _ends(config: GenerationConfig) -> list[int]:
    """Return the tokens that end a sequence."""
    ends = config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _is_greedy(model: PreTrainedModel, config: GenerationConfig) -> bool:
    """Return whether finished rows can be left out: one path a row, no sampling, and on a CPU, where it is faster."""
    one_path = (config.num_beams or 1) == 1 and not config.do_sample
    known = bool(_ends(config)) and config.pad_token_id is not None and isinstance(config.decoder_start_token_id, int)
    return one_path and known and model.device.type == "cpu"


def _greedy(model: PreTrainedModel, batch: Mapping[str, torch.Tensor], config: GenerationConfig) -> torch.Tensor:
    """Return tokens of shape (rows, tokens) as `model.generate` does; finished rows take no part in further steps.

    transformers takes all rows through all steps until the last one ends. Here it is stopped when a quarter of them
    has ended, and resumes with the others from its own cache.
    """
    mask, encoded, cache = batch["attention_mask"], model.get_encoder()(**batch), None
    rows = torch.arange(len(mask))
    tokens = torch.full((len(mask), 1), config.decoder_start_token_id)
    written = torch.full((len(mask), 1 + config.max_new_tokens), config.pad_token_id)
    while len(rows):
        stage = copy.deepcopy(config)
        stage.max_new_tokens = written.shape[1] - tokens.shape[1]
        stage.return_dict_in_generate = True
        before: dict[str, Any] = {}
        if cache is not None:
            before = {"past_key_values": cache, "decoder_attention_mask": torch.ones_like(tokens)}
        few_left = _FewLeft(config)
        output: Any = model.generate(
            encoder_outputs=encoded,
            attention_mask=mask,
            decoder_input_ids=tokens,
            generation_config=stage,
            stopping_criteria=StoppingCriteriaList([few_left]),
            **before,
        )
        tokens, cache = output.sequences, output.past_key_values
        written[rows, : tokens.shape[1]] = tokens
        left = few_left.rows() if tokens.shape[1] < written.shape[1] else rows[:0]
        rows, tokens, mask = rows[left], tokens[left], mask[left]
        encoded.last_hidden_state = encoded.last_hidden_state[left]
        cache.batch_select_indices(left)
    return written


class _FewLeft(StoppingCriteria):
    """Ends all rows as soon as so many have ended that it is faster to resume without these."""

    def __init__(self, config: GenerationConfig) -> None:
        self.ends = EosTokenCriteria(config.eos_token_id)
        self.ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        now = self.ends(input_ids, scores)
        self.ended = now if self.ended is None else self.ended | now
        return torch.full_like(now, len(now) > _FEW and len(self.rows()) <= _LEFT * len(now))

    def rows(self) -> torch.Tensor:
        """Return which rows have not ended."""
        assert self.ended is not None
        return (~self.ended).nonzero().flatten()


def generation_config(model: PreTrainedModel, settings: Generation) -> GenerationConfig:
    """Return the recipe's generation settings with the model's special tokens; nothing else comes from the model."""
    own = model.generation_config
    assert own is not None
    sampling = {"temperature": settings.temperature, "top_p": settings.top_p} if settings.do_sample else {}
    beams = {"length_penalty": settings.length_penalty} if settings.num_beams > 1 else {}
    start = own.decoder_start_token_id
    if start is None:
        start = getattr(model.config, "decoder_start_token_id", None)
    return GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.num_beams,
        do_sample=settings.do_sample,
        no_repeat_ngram_size=settings.no_repeat_ngram_size or None,
        decoder_start_token_id=start,
        eos_token_id=own.eos_token_id if own.eos_token_id is not None else model.config.eos_token_id,
        pad_token_id=own.pad_token_id if own.pad_token_id is not None else model.config.pad_token_id,
        bos_token_id=own.bos_token_id,
        forced_bos_token_id=own.forced_bos_token_id,
        forced_eos_token_id=own.forced_eos_token_id,
        **sampling,
        **beams,
    )
