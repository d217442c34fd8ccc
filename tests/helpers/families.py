"""Runs tests with a tiny model of each family, because what summtune promises holds for all of them."""

import pytest
from tiny_decoders import write_decoder
from tiny_inputs import write_checkpoint

FAMILIES = ("encoder_decoder", "decoder_only")

both_families = pytest.mark.parametrize("family", FAMILIES, indirect=True)
"""Runs a test, with the fixtures that it uses, once for each family."""

quick_for_one_family = pytest.mark.parametrize(
    "family", [FAMILIES[0], pytest.param(FAMILIES[1], marks=pytest.mark.slow)], indirect=True
)
"""The same, but the decoder-only model takes its turn only where there is time."""

decoder_only = pytest.mark.parametrize("family", FAMILIES[1:], indirect=True)
"""Runs a test with the decoder-only model alone."""

_WRITERS = {"encoder_decoder": write_checkpoint, "decoder_only": write_decoder}
_AUTO_CLASSES = {"encoder_decoder": "AutoModelForSeq2SeqLM", "decoder_only": "AutoModelForCausalLM"}


def write_tiny(family, folder):
    """Write the tiny checkpoint of a family; return the folder."""
    return _WRITERS[family](folder)


def loaded_by_transformers(folder, family="encoder_decoder"):
    """Return the model of a folder as anyone would load it."""
    import transformers

    return getattr(transformers, _AUTO_CLASSES[family]).from_pretrained(folder)


def with_labels(pair, family):
    """Return a pair as transformers takes it to compute the loss itself, in a batch of one."""
    import torch

    ids, labels = list(pair["input_ids"]), list(pair["labels"])
    if family == "decoder_only":
        ids, labels = [*ids, *labels], [*[-100] * len(ids), *labels]
    return {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])}
