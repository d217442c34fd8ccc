"""Computes the beginning that all prompts of a batch share once instead of once for each.

Prompts of one run begin with the same instruction and, with fixed exemplars, with the same exemplars. A causal model
computes the same keys and values for it in every prompt.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from summtune.work.models.caches import cache_of_attention, sees_all

_LEAST = 64
"""Tokens that must be saved; a forward pass of few tokens takes as long as reading the weights."""


def with_shared_prefix(
    model: PreTrainedModel, batch: Mapping[str, torch.Tensor], config: GenerationConfig
) -> tuple[dict[str, torch.Tensor], DynamicCache | None]:
    """Return the batch for `model.generate`, and a cache of the tokens that all prompts begin with.

    Padding moves from the left to the place after these tokens. It stays masked, and positions count what is not
    masked, so each token has the position that it has in its prompt alone.

    Args:
        model: decoder-only.
        batch: ``input_ids`` and ``attention_mask``, padded on the left.
        config: of the generation.

    Returns:
        The batch as it was and None where nothing is shared, or the model or the generation does not allow it.
    """
    ids, mask = batch["input_ids"], batch["attention_mask"]
    lengths = mask.sum(1).tolist()
    rows, width = ids.shape
    if not _allows(config):
        return dict(batch), None
    prompts = [row[width - length :] for row, length in zip(ids.tolist(), lengths, strict=True)]
    # The last token of a prompt is left to `generate`, which needs its logits.
    shared = min(_in_common(prompts), min(lengths) - 1)
    cache = _empty_cache(model) if (rows - 1) * shared >= _LEAST else None
    if cache is None:
        return dict(batch), None
    ids, mask = ids.clone(), mask.clone()
    prefix = torch.tensor(prompts[0][:shared], device=ids.device)
    for row, length in enumerate(lengths):
        padding = width - length
        ids[row, shared : shared + padding] = ids[row, 0].clone()
        ids[row, :shared] = prefix
        mask[row, :shared] = 1
        mask[row, shared : shared + padding] = 0
    only_last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    model(input_ids=prefix[None], past_key_values=cache, use_cache=True, **only_last)
    cache.batch_repeat_interleave(rows)
    return {"input_ids": ids, "attention_mask": mask}, cache


def _allows(config: GenerationConfig) -> bool:
    # Beams repeat rows, and n-grams are those of the tokens as they stand, padding included.
    return (config.num_beams or 1) == 1 and not config.no_repeat_ngram_size


def _in_common(prompts: list[list[int]]) -> int:
    columns = zip(*prompts, strict=False)
    return next((at for at, column in enumerate(columns) if len(set(column)) > 1), min(map(len, prompts)))


def _empty_cache(model: PreTrainedModel) -> DynamicCache | None:
    """Return a cache for the prefix; None if padding after it would change what a token sees, as in a window."""
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    cache = cache_of_attention(model) if takes_positions else None
    return cache if cache is not None and sees_all(cache) else None
