"""An adapter that begins as a part of its base is stored as one that anybody can put on the untouched base."""

import json

import pytest
import torch
from made_up_recipes import train_recipe
from peft import PeftModel
from safetensors.torch import load_file
from tiny_inputs import CONFIG

from summtune.base.errors import StageError
from summtune.recipe.adapters import adapter_of
from summtune.recipe.families import layer_names
from summtune.work.models.adapter_start import AdapterStart
from summtune.work.models.adapters import add_adapter
from summtune.work.models.loading import load_model
from summtune.work.models.saved_model import check_saved, weights_to_save

# peft uses a deprecated name of transformers 5, and warns of a head that is no embedding
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning"),
]
STARTS = ["pissa", "pissa_niter_4", "olora"]
BATCH = {"input_ids": torch.tensor([[5, 6, 1]]), "decoder_input_ids": torch.tensor([[0, 7]])}


def logits(model):
    with torch.no_grad():
        return model.eval()(**BATCH).logits


def adapted(checkpoint, start, **keys):
    keys = {"lora_r": 4, "lora_dropout": 0.0, "peft_init_lora_weights": start} | keys
    adapter = adapter_of(train_recipe(adapter="lora", **keys), layer_names(CONFIG))
    torch.manual_seed(0)
    return add_adapter(load_model(checkpoint, torch.float32), adapter, str(checkpoint))


def moved(model):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight += 0.1 * torch.randn(weight.shape)
    return model


def saved(model, start, folder):
    model.save_pretrained(folder)
    start.rewrite(folder)
    return folder


@pytest.mark.parametrize("keys", [{}, {"peft_use_rslora": True}, {"peft_use_dora": True}], ids=str)
@pytest.mark.parametrize("start", STARTS)
def test_the_stored_adapter_gives_the_trained_model_on_the_untouched_base(checkpoint, tmp_path, start, keys):
    model = adapted(checkpoint, start, lora_alpha=8, **keys)
    base = load_model(checkpoint, torch.float32)
    assert torch.allclose(logits(model), logits(base), atol=1e-4)  # nothing is learned yet
    name = "encoder.block.0.layer.0.SelfAttention.q"
    assert not torch.allclose(
        model.get_submodule(f"base_model.model.{name}.base_layer").weight, base.get_submodule(name).weight
    )
    begun = AdapterStart.of(model)
    expected = logits(moved(model))
    saved(model, begun, tmp_path)
    check_saved(tmp_path, model, begun)
    again = PeftModel.from_pretrained(base, tmp_path)
    assert torch.allclose(logits(again), expected, atol=1e-4)
    assert torch.allclose(logits(again.merge_and_unload()), expected, atol=1e-4)
    assert not torch.allclose(logits(load_model(checkpoint, torch.float32)), expected, atol=1e-2)


def test_the_stored_adapter_is_a_plain_one_of_twice_the_rank(checkpoint, tmp_path):
    model = adapted(checkpoint, "pissa")
    saved(moved(model), AdapterStart.of(model), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["init_lora_weights"], config["r"], config["lora_alpha"]) == (True, 8, 64)
    shapes = {
        name.rsplit(".", 2)[-2]: tuple(t.shape) for name, t in load_file(tmp_path / "adapter_model.safetensors").items()
    }
    assert shapes == {"lora_A": (8, 32), "lora_B": (32, 8)}


def test_an_adapter_that_did_not_change_is_refused(checkpoint, tmp_path):
    model = adapted(checkpoint, "pissa")
    start = AdapterStart.of(model)
    with pytest.raises(StageError, match=r"did not change in training \(got its first values in .*lora_B"):
        check_saved(saved(model, start, tmp_path), model, start)


@pytest.mark.parametrize("start", [None, "gaussian"])
def test_an_adapter_that_leaves_the_base_alone_is_stored_as_it_is(checkpoint, start):
    model = adapted(checkpoint, start)
    assert AdapterStart.of(model) is None
    assert torch.equal(logits(model), logits(load_model(checkpoint, torch.float32)))
    assert AdapterStart.of(load_model(checkpoint, torch.float32)) is None


def test_under_zero_3_the_whole_shapes_are_known(checkpoint):
    model = adapted(checkpoint, "pissa")
    start = AdapterStart.of(model)
    whole = {name: weight.shape for name, weight in weights_to_save(model, start).items()}
    for weight in model.parameters():
        weight.ds_shape, weight.data = weight.shape, torch.empty(0)
    assert {name: weight.ds_shape for name, weight in weights_to_save(model, start).items()} == whole
