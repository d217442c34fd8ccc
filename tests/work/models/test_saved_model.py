import json
import shutil

import pytest
import torch
from made_up_recipes import train_recipe
from safetensors.torch import load_file, save_file
from tiny_inputs import write_checkpoint

from summtune.base.errors import StageError
from summtune.recipe.adapters import adapter_of
from summtune.work.models.adapters import add_adapter
from summtune.work.models.loading import load_model, mark_untied
from summtune.work.models.saved_model import check_saved

# peft uses a deprecated name of transformers 5.20 and later
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def model(checkpoint):
    return load_model(checkpoint, torch.float32)


@pytest.fixture
def saved(model, tmp_path):
    """The folder of a saved model."""
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    mark_untied(folder)
    return folder


def change(folder, action, name="model.safetensors"):
    """Rewrite the tensors of a folder."""
    tensors = load_file(folder / name)
    action(tensors)
    save_file(tensors, folder / name)


def test_a_correctly_saved_model_passes(saved, model):
    check_saved(saved, model)


def test_a_tied_model_passes(tmp_path, checkpoint):
    folder = shutil.copytree(checkpoint, tmp_path / "tied")
    change(folder, lambda tensors: tensors.pop("lm_head.weight"))
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(folder, torch.float32)
    model.save_pretrained(tmp_path / "saved")
    mark_untied(tmp_path / "saved")
    check_saved(tmp_path / "saved", model)
    change(tmp_path / "saved", lambda tensors: tensors.update({"lm_head.weight": tensors["shared.weight"].clone()}))
    with pytest.raises(StageError, match=r"a weight is stored 2 times instead of once \(got (lm_head|shared).weight\)"):
        check_saved(tmp_path / "saved", model)


def test_a_folder_without_weights_is_refused(tmp_path, model):
    with pytest.raises(StageError, match=rf"no weights were saved \(got {tmp_path.name} without safetensors\)"):
        check_saved(tmp_path, model)


def test_a_stored_copy_of_the_embedding_is_refused(saved, model):
    change(saved, lambda tensors: tensors.update({"encoder.embed_tokens.weight": tensors["shared.weight"].clone()}))
    with pytest.raises(StageError, match=r"a weight is stored 2 times instead of once"):
        check_saved(saved, model)


def test_a_missing_tensor_is_refused(saved, model):
    change(saved, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(StageError, match=r"a weight is stored 0 times instead of once \(got lm_head.weight\)"):
        check_saved(saved, model)


def test_an_unknown_tensor_is_refused(saved, model):
    change(saved, lambda tensors: tensors.update({"module.shared.weight": torch.zeros(2)}))
    with pytest.raises(StageError, match=r"a saved tensor does not belong to the model \(got module.shared.weight\)"):
        check_saved(saved, model)


def test_a_tensor_of_another_shape_is_refused(saved, model):
    change(saved, lambda tensors: tensors.update({"shared.weight": torch.zeros(0)}))  # what ZeRO-3 leaves in memory
    with pytest.raises(StageError, match=r"another shape than the model's \(got \(0,\) for shared.weight\)"):
        check_saved(saved, model)


def test_under_zero_3_full_shapes_are_compared(saved, model):
    """Under ZeRO-3 a process holds a part of each weight, and an empty tensor in place of the weight."""
    for weight in model.parameters():
        weight.ds_shape = weight.shape
        weight.data = torch.empty(0)
    check_saved(saved, model)
    model.lm_head.weight.ds_shape = torch.Size([3, 4])
    with pytest.raises(StageError, match=r"another shape than the model's \(got \(256, 32\) for lm_head.weight\)"):
        check_saved(saved, model)


def test_a_weight_that_is_not_a_number_is_refused(saved, model):
    def poison(tensors):
        tensors["lm_head.weight"][3, 4] = float("nan")

    change(saved, poison)
    with pytest.raises(StageError, match=r"a trained weight is not a number \(got lm_head.weight\)"):
        check_saved(saved, model)


def test_a_value_that_differs_from_memory_is_refused(saved, model):
    def alter(tensors):
        tensors["lm_head.weight"][3, 4] += 1e-6

    change(saved, alter)
    with pytest.raises(StageError, match=r"differs from the trained one \(got lm_head.weight\)"):
        check_saved(saved, model)


def test_an_lm_head_that_equals_the_embedding_is_refused(saved, model):
    """This happens if a library ties a FLAN-T5; no other check would notice it."""
    with torch.no_grad():
        model.lm_head.weight.copy_(model.shared.weight)
    change(saved, lambda tensors: tensors.update({"lm_head.weight": tensors["shared.weight"].clone()}))
    with pytest.raises(StageError, match=r"lm_head equals the embedding \(got two equal matrices\)"):
        check_saved(saved, model)


@pytest.mark.parametrize("written", [True, None])
def test_a_config_with_the_wrong_tie_of_lm_head_is_refused(saved, model, written):
    config = json.loads((saved / "config.json").read_text()) | {"tie_word_embeddings": written}
    if written is None:
        del config["tie_word_embeddings"]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(StageError, match=r"the wrong lm_head \(got tie_word_embeddings: true, lm_head stored\)"):
        check_saved(saved, model)


def test_a_config_of_another_model_is_refused(saved, model):
    config = json.loads((saved / "config.json").read_text()) | {"d_ff": 65}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        StageError,
        match=r"another model than the trained one \(got .*\.wi_0\.weight \(64, 32\), by the config \(65, 32\)",
    ):
        check_saved(saved, model)


@pytest.fixture
def adapted(model, checkpoint):
    torch.manual_seed(0)
    recipe = train_recipe(adapter="lora", lora_r=4, lora_target_modules=["q", "v"])
    return add_adapter(model, adapter_of(recipe, None), str(checkpoint))


def test_an_ia3_adapter_that_did_not_change_is_refused(model, checkpoint, tmp_path):
    recipe = train_recipe(adapter="ia3", ia3_target_modules=["k"])
    adapted = add_adapter(model, adapter_of(recipe, None), str(checkpoint))
    adapted.save_pretrained(tmp_path)
    with pytest.raises(StageError, match=r"the adapter did not change in training \(got 1 in .*ia3_l"):
        check_saved(tmp_path, adapted)
    adapted.base_model.model.encoder.block[0].layer[0].SelfAttention.k.ia3_l["default"].data += 0.01
    adapted.save_pretrained(tmp_path)
    check_saved(tmp_path, adapted)


def trained_adapter(adapted, folder):
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight += 0.01
    adapted.save_pretrained(folder)
    return folder


def test_an_adapter_passes(adapted, tmp_path):
    check_saved(trained_adapter(adapted, tmp_path), adapted)


def test_an_adapter_with_dora_passes(model, checkpoint, tmp_path):
    recipe = train_recipe(adapter="lora", lora_r=4, lora_target_modules=["q", "v"], peft_use_dora=True)
    adapted = add_adapter(model, adapter_of(recipe, None), str(checkpoint))
    check_saved(trained_adapter(adapted, tmp_path), adapted)


def test_a_lora_adapter_that_did_not_change_is_refused(adapted, tmp_path):
    adapted.save_pretrained(tmp_path)
    with pytest.raises(StageError, match=r"the adapter did not change in training \(got 0 in .*lora_B"):
        check_saved(tmp_path, adapted)


def test_an_adapter_that_lacks_a_matrix_is_refused(adapted, tmp_path):
    trained_adapter(adapted, tmp_path)
    change(tmp_path, lambda tensors: tensors.pop(sorted(tensors)[0]), "adapter_model.safetensors")
    with pytest.raises(StageError, match=r"a weight is stored 0 times instead of once \(got .*lora_A.weight\)"):
        check_saved(tmp_path, adapted)


def test_a_scaled_t5_keeps_its_scale(tmp_path):
    """T5 1.0 scales its output before the tied lm_head; readers decide by ``tie_word_embeddings``."""
    folder = write_checkpoint(tmp_path / "own", tie_word_embeddings=True)
    change(folder, lambda tensors: tensors.pop("lm_head.weight"))
    model = load_model(folder, torch.float32).eval()
    model.save_pretrained(tmp_path / "saved")
    mark_untied(tmp_path / "saved")
    check_saved(tmp_path / "saved", model)
    again = load_model(tmp_path / "saved", torch.float32).eval()
    ids = torch.tensor([[5, 6, 7, 1]])
    assert torch.equal(*(one(input_ids=ids, decoder_input_ids=ids).logits for one in (model, again)))
