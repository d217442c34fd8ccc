"""When finished rows are dropped; the tests of the generator check that the text stays the same."""

from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig

from summtune.work.models.greedy import takes_one_path

KNOWN = {"eos_token_id": 1, "pad_token_id": 0}


def takes(device="cpu", **settings):
    return takes_one_path(SimpleNamespace(device=torch.device(device)), GenerationConfig(**(KNOWN | settings)))


def test_finished_rows_are_dropped_only_on_a_cpu():
    assert takes()
    assert takes(eos_token_id=[1, 9])
    assert not takes("cuda")


@pytest.mark.parametrize("settings", [{"num_beams": 2}, {"do_sample": True}, *({key: None} for key in KNOWN)], ids=str)
def test_transformers_generates_beams_samples_and_with_unknown_tokens(settings):
    assert not takes(**settings)
