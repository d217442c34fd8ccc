"""The adapters of a plan in peft: their weights, their files, and what is refused."""

import json

import pytest
import torch
from made_up_recipes import train_recipe
from tiny_decoders import ARCHITECTURES, write_decoder
from tiny_inputs import CONFIG

from summtune.base.errors import ModelError
from summtune.machine.model_shapes import shape_of
from summtune.machine.t5_shape import T5Shape
from summtune.plan.models import planned_adapter
from summtune.recipe.adapters import adapter_of
from summtune.recipe.families import layer_names
from summtune.work.models.adapters import add_adapter, load_adapter, starting_value, with_trained
from summtune.work.models.loading import count_parameters, load_model

# peft uses a deprecated name of transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SHAPE = T5Shape(CONFIG["vocab_size"], 32, 8, 64, 2, 1, 4, buckets=8)


def adapter(name, **keys):
    return adapter_of(train_recipe(adapter=name, **keys), layer_names(CONFIG))


def lora(**keys):
    return adapter("lora", lora_r=4, lora_dropout=0.0, **keys)


def moved(model):
    """Change the weights of the adapter, which have no effect initially."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "ia3_l" in name:
                parameter += 0.5
    return model


def logits(model):
    batch = {"input_ids": torch.tensor([[5, 6, 1]]), "decoder_input_ids": torch.tensor([[0, 7]])}
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.filterwarnings(
    "ignore:Model has `tie_word_embeddings=True`:UserWarning"
)  # a warning of transformers 5 for every T5
@pytest.mark.parametrize("targets", [["q", "v"], ["q", "k", "v", "o"], ["wi_0", "wi_1", "wo"], ["q", "lm_head"]])
def test_lora_trains_the_weights_that_the_plan_counted(checkpoint, targets):
    model = add_adapter(load_model(checkpoint, torch.float32), lora(lora_target_modules=targets), "owner/base")
    expected = lora(lora_target_modules=targets).parameters(SHAPE.layer_sizes)
    assert count_parameters(model) == (expected, SHAPE.parameters + expected)
    assert all(".lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)


def test_dora_trains_a_magnitude_for_each_output(checkpoint):
    model = add_adapter(load_model(checkpoint, torch.float32), lora(peft_use_dora=True), "owner/base")
    assert count_parameters(model)[0] == lora(peft_use_dora=True).parameters(SHAPE.layer_sizes)


def test_an_unknown_target_is_refused_with_the_layers_of_the_model(checkpoint):
    with pytest.raises(ModelError, match=r"\(got 'query'\); the model has k, lm_head, o, q, v, wi_0"):
        add_adapter(load_model(checkpoint, torch.float32), lora(lora_target_modules=["q", "query"]), "owner/base")


def test_a_saved_adapter_names_its_base_and_can_be_loaded(tmp_path, checkpoint):
    adapted = add_adapter(load_model(checkpoint, torch.float32), lora(), str(checkpoint))
    moved(adapted).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(checkpoint)
    again = load_adapter(load_model(checkpoint, torch.float32), tmp_path)
    batch = {"input_ids": torch.tensor([[5, 6, 1]]), "decoder_input_ids": torch.tensor([[0, 7]])}
    assert torch.equal(adapted.eval()(**batch).logits, again.eval()(**batch).logits)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"ia3_target_modules": ["q"]},
        {"ia3_target_modules": ["o", "wo"], "ia3_feedforward_modules": ["o"]},
        {"ia3_feedforward_modules": []},
    ],
    ids=str,
)
def test_ia3_trains_the_weights_that_the_plan_counted(checkpoint, keys):
    planned = adapter("ia3", **keys)
    model = add_adapter(load_model(checkpoint, torch.float32), planned, "owner/base")
    expected = planned.parameters(SHAPE.layer_sizes)
    assert count_parameters(model) == (expected, SHAPE.parameters + expected)
    assert all(".ia3_l." in name for name, parameter in model.named_parameters() if parameter.requires_grad)


@pytest.mark.parametrize("planned", [lora(), adapter("ia3")], ids=["lora", "ia3"])
def test_an_adapter_has_no_effect_before_it_is_trained(checkpoint, planned):
    plain = load_model(checkpoint, torch.float32)
    before = logits(plain)
    assert torch.equal(logits(add_adapter(plain, planned, "owner/base")), before)


@pytest.mark.filterwarnings(
    "ignore:Input and output embeddings are no longer tied:UserWarning"
)  # a warning of peft for T5
@pytest.mark.parametrize("planned", [lora(), adapter("ia3")], ids=["lora", "ia3"])
def test_merging_an_adapter_does_not_change_the_output(tmp_path, checkpoint, planned):
    adapted = moved(add_adapter(load_model(checkpoint, torch.float32), planned, str(checkpoint)))
    adapted.save_pretrained(tmp_path)
    expected = logits(adapted)
    again = load_adapter(load_model(checkpoint, torch.float32), tmp_path)
    assert torch.equal(logits(again), expected)
    assert torch.allclose(logits(again.merge_and_unload()), expected, atol=1e-4)
    assert not torch.allclose(logits(load_model(checkpoint, torch.float32)), expected, atol=1e-2)


def test_an_unknown_layer_is_refused_under_the_key_that_names_it(checkpoint):
    planned = adapter("ia3", ia3_feedforward_modules=["fc2"])
    with pytest.raises(ModelError, match=r"ia3_feedforward_modules lists the ends .*\(got 'fc2'\)"):
        add_adapter(load_model(checkpoint, torch.float32), planned, "owner/base")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_model.model.encoder.q.lora_B.weight", 0.0),
        ("base_model.model.encoder.q.lora_A.weight", None),
        ("base_model.model.encoder.k.ia3_l", 1.0),
        ("base_model.model.encoder.q.lora_magnitude_vector", None),
    ],
)
def test_weights_without_initial_effect_have_a_constant_initial_value(name, value):
    assert starting_value(name) == value


@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_decoder_only_architecture_takes_each_adapter_on_its_default_layers(tmp_path, architecture):
    folder = write_decoder(tmp_path / "base", architecture)
    shape = shape_of(str(folder), folder)
    ids = {"input_ids": torch.tensor([[5, 6, 7]])}
    with torch.no_grad():
        expected = load_model(folder, torch.float32).eval()(**ids).logits
        for keys in ({"adapter": "lora", "lora_r": 2}, {"adapter": "ia3"}, {"adapter": "lora", "peft_use_dora": True}):
            planned = planned_adapter(train_recipe(base_model=str(folder), **keys), folder)
            adapted = add_adapter(load_model(folder, torch.float32), planned, str(folder))
            assert torch.allclose(adapted.eval()(**ids).logits, expected, atol=1e-5)
            counted = planned.parameters(shape.layer_sizes)
            assert counted in (count_parameters(adapted)[0], None)
            assert counted is not None or "mlp.c_proj" in planned.targets  # GPT-2 has two layers with that end
            for weight in adapted.parameters():
                if weight.requires_grad:
                    weight += 0.5 * torch.rand(weight.shape)  # a norm would undo the same factor everywhere
            adapted.save_pretrained(tmp_path / "saved")
            after = adapted.eval()(**ids).logits
            assert not torch.allclose(after, expected, atol=1e-2)
            base = load_model(folder, torch.float32)
            merged = with_trained(base, planned, tmp_path / "saved", quantized=False, dtype=torch.float32)
            assert torch.allclose(merged.eval()(**ids).logits, after, atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_adapts_every_linear_layer_but_the_head_by_default(tmp_path, architecture):
    folder = write_decoder(tmp_path / "base", architecture, tie_word_embeddings=False)
    planned = planned_adapter(train_recipe(base_model=str(folder), adapter="lora"), folder)
    adapted = add_adapter(load_model(folder, torch.float32), planned, str(folder))
    linear = {
        name.removesuffix(".base_layer").removeprefix("base_model.model.")
        for name, module in adapted.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and ".lora_" not in name
    }
    reached = {
        name.split(".lora_A")[0].removeprefix("base_model.model.")
        for name, weight in adapted.named_parameters()
        if ".lora_A" in name
    }
    (head,) = linear - reached
    assert head in ("lm_head", "embed_out")
