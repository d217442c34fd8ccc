import pytest
import torch

from summtune.work.models.loading import load_model
from summtune.work.training.target_tokens import TargetTokens

INPUTS = {"input_ids": torch.tensor([[5, 6, 1], [7, 1, 0]]), "decoder_input_ids": torch.tensor([[0, 8, 9], [0, 4, 0]])}
LABELS = torch.tensor([[8, 9, 1], [4, -100, -100]])


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, torch.float32).eval()


def test_logits_are_computed_only_for_positions_with_a_target(model):
    targets = TargetTokens(model)
    every = model(**INPUTS).logits
    with targets.of(LABELS):
        chosen = model(**INPUTS).logits
    assert chosen.shape == (4, every.shape[-1])
    torch.testing.assert_close(chosen, every[LABELS != -100])


def test_an_error_resets_the_selection_of_positions(model):
    targets = TargetTokens(model)
    with pytest.raises(KeyError), targets.of(LABELS):
        raise KeyError
    assert model(**INPUTS).logits.ndim == 3
