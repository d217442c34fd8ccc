import pytest
import torch
from tiny_inputs import write_bart

from summtune.base.errors import ModelError
from summtune.work.models.adapter_layers import check_targets
from summtune.work.models.loading import load_model

KEY = "lora_target_modules"


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    return load_model(write_bart(tmp_path_factory.mktemp("bart")), torch.float32)


@pytest.mark.parametrize("target", ["foo.q_proj", "encoder", "shared", "self_attn_layer_norm", "q_pro", "^q_proj$"])
def test_a_target_that_is_not_a_linear_layer_is_refused(bart, target):
    with pytest.raises(
        ModelError, match=r"ends of names of linear layers \(got '.*the model has fc1, fc2, k_proj, out_proj"
    ):
        check_targets(bart, ["v_proj", target], KEY)


def test_an_lm_head_tied_to_the_embedding_is_refused(bart):
    with pytest.raises(ModelError, match=r"cannot be merged \(got 'lm_head' in lora_target_modules\)"):
        check_targets(bart, ["lm_head"], KEY)


def test_linear_layers_and_an_untied_lm_head_are_accepted(bart, checkpoint):
    check_targets(bart, ["q_proj", "encoder.layers.0.fc1"], KEY)
    check_targets(load_model(checkpoint, torch.float32), ["q", "lm_head"], KEY)
