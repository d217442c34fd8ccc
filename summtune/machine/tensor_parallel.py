"""Over how many devices the attention heads of a model can be divided (tensor parallelism, as vLLM shards a model)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from summtune.recipe.families.facts import first_id

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")


def heads_of(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the heads of queries, and those of keys and values, which groups of queries share; None if unknown.

    Args:
        config: content of config.json.
    """
    part = config.get("text_config")
    configs = (part, config) if isinstance(part, Mapping) else (config,)
    queries, keys = (
        next((found for name in names if (found := first_id(*configs, key=name))), None)
        for names in (_HEADS, _KEY_HEADS)
    )
    return None if queries is None else (queries, keys or queries)


def divides(config: Mapping[str, Any], devices: int) -> bool:
    """Return whether the heads of a model can be divided over so many devices; True where they are not known.

    Each device has as many heads of queries as the others. Heads of keys are divided, or copied where there are more
    devices than heads.
    """
    heads = heads_of(config)
    if heads is None:
        return True
    queries, keys = heads
    return queries % devices == 0 and (keys % devices == 0 or devices % keys == 0)


def most_shards(config: Mapping[str, Any], devices: int) -> int:
    """Return the most devices, of those given, over which the heads of a model can be divided."""
    return next(count for count in range(devices, 0, -1) if divides(config, count))
