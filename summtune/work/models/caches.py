"""Makes the caches in which decoder-only models keep the keys and values of earlier tokens."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


def cache_of_attention(model: PreTrainedModel) -> DynamicCache | None:
    """Return an empty cache; None for a model with a layer that keeps something else, such as a recurrent state."""
    supports: Any = getattr(model, "_supports_default_dynamic_cache", None)
    if supports is None or not supports():
        return None
    cache = DynamicCache(config=model.config)
    return cache if cache.layers and all(isinstance(layer, DynamicLayer) for layer in cache.layers) else None


def sees_all(cache: DynamicCache) -> bool:
    """Return whether every layer sees all earlier tokens, not only those of a window."""
    return all(type(layer) is DynamicLayer for layer in cache.layers)
