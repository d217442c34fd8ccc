"""When rows that have ended are left out; that the text stays the same is tested with the generator."""

from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig

from summtune.work.models.greedy import takes_one_path

KNOWN = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}


def takes(device="cpu", **settings):
    return takes_one_path(SimpleNamespace(device=torch.device(device)), GenerationConfig(**(KNOWN | settings)))


def test_rows_are_left_out_on_a_cpu_alone():
    assert takes()
    assert takes(eos_token_id=[1, 9])
    assert not takes("cuda")


@pytest.mark.parametrize("settings", [{"num_beams": 2}, {"do_sample": True}, *({key: None} for key in KNOWN)], ids=str)
def test_beams_samples_and_unknown_tokens_are_left_to_transformers(settings):
    assert not takes(**settings)
