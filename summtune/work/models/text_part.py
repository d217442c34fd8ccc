"""Loads the text part of a model that also reads images or sounds, as a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, PretrainedConfig

# The names of its weights in the files, and in a model that is nothing else.
_NAMES = {
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^model\.language_model\.": "model.",
}


def is_part(config: PretrainedConfig) -> bool:
    """Return whether a model has a text part that transformers does not load alone when asked for a language model."""
    text = config.get_text_config()
    if text is config:
        return False
    loaded = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return getattr(loaded, "config_class", None) is not type(text)


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
