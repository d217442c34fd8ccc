"""Loads the text part of a model that also reads images or sounds, as a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, PretrainedConfig

# The names of its weights in the files, and in a model that is nothing else.
_NAMES = {
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^model\.language_model\.": "model.",
}


def has_text_part(config: PretrainedConfig) -> bool:
    """Return whether a model of the family has a part that alone reads text."""
    return config.get_text_config() is not config


def load_text_part(folder: Path, config: PretrainedConfig, **options: Any) -> Any:
    """Return the text part of the model in ``folder``; it is saved as a model by itself.

    Args:
        folder: of the model.
        config: of the whole model.
        options: of `from_pretrained`.

    Raises:
        ValueError: the files lack some of its weights.
    """
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, config=config.get_text_config(), key_mapping=_NAMES, output_loading_info=True, **options
    )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"the text part has no {missing[0]}")
    model._weight_conversions = None  # which would give the names of the whole model back to the saved weights
    return model
