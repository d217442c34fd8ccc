import numpy as np
import pytest
from made_up_recipes import train_recipe
from safetensors.numpy import save_file

from summtune.machine.adapter_targets import linear_layers, wrong_targets
from summtune.recipe.adapters import adapter_of
from summtune.recipe.families import layer_names

LAYER = "model.decoder.layers.0"
BART = {
    "model.shared.weight": (9, 4),
    "model.encoder.embed_positions.weight": (9, 4),
    "final_logits_bias": (1, 9),
    f"{LAYER}.self_attn.q_proj.weight": (4, 4),
    f"{LAYER}.self_attn.v_proj.weight": (4, 4),
    f"{LAYER}.self_attn_layer_norm.weight": (4,),
    f"{LAYER}.fc1.weight": (8, 4),
}


BART_CONFIG = {"model_type": "bart"}
T5_CONFIG = {"model_type": "t5"}


def wrong(targets, folder, base_model="a", config=BART_CONFIG):
    recipe = train_recipe(adapter="lora", lora_target_modules=targets)
    found = list(wrong_targets(adapter_of(recipe, layer_names(config)), config, base_model, folder))
    assert {key for key, _ in found} <= {"lora_target_modules"}
    return [message for _, message in found]


@pytest.fixture
def folder(tmp_path):
    save_file({name: np.zeros(shape, np.float32) for name, shape in BART.items()}, tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("query", r"ends of names of linear layers \(got 'query'\); the model has fc1, q_proj, v_proj"),
        ("q_prog", r"\(got 'q_prog'\), did you mean q_proj\?"),
        (".*q_proj", r"\(got '.\*q_proj'\)"),
        ("encoder", r"\(got 'encoder'\)"),
        ("self_attn_layer_norm", r"\(got 'self_attn_layer_norm'\)"),
        ("embed_positions", r"\(got 'embed_positions'\)"),
        ("shared", r"\(got 'shared'\)"),
        ("final_logits_bias", r"\(got 'final_logits_bias'\)"),
        ("all-linear", r"\(got 'all-linear'\)"),
        ("lm_head", r"shares its weights with the embedding cannot be merged \(got 'lm_head'.*layers: fc1, q_proj"),
    ],
)
def test_a_target_that_is_not_a_separate_linear_layer_is_refused(folder, target, message):
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(*wrong(["q_proj", target], folder))


def test_targets_match_any_end_of_a_layer_name(folder):
    targets = ["q_proj", "self_attn.v_proj", f"{LAYER}.fc1"]
    assert wrong(targets, folder) == []


def test_a_layer_listed_twice_is_refused(folder):
    assert wrong(["fc1", "q_proj", "fc1"], folder) == [
        "lora_target_modules lists a layer twice (got 'fc1'); remove one"
    ]


def test_an_untied_lm_head_takes_an_adapter(folder):
    save_file({"lm_head.weight": np.zeros((9, 4), np.float32)}, folder / "more.safetensors")
    assert wrong(["lm_head"], folder) == []


def test_the_layers_of_a_known_hub_model_are_known_without_its_files(folder):
    known = "google/flan-t5-base"
    assert wrong(["q", "wi_0", "lm_head"], None, known, T5_CONFIG) == []
    (message,) = wrong(["q_proj"], None, known, T5_CONFIG)
    assert "the model has k, lm_head, o, q, v, wi_0, wi_1, wo" in message


def test_a_model_whose_layers_are_not_known_needs_their_names(folder):
    config = {"model_type": "of_tomorrow", "is_encoder_decoder": True}
    assert wrong(None, folder, config=config) == [
        "lora_target_modules has no default for this model (got model_type 'of_tomorrow'); name the layers; the model "
        "has fc1, q_proj, v_proj"
    ]
    assert wrong(["fc1"], folder, config=config) == []
    assert wrong(None, folder) == []


LLAMA_CONFIG = {"model_type": "llama"}
LLAMA = {
    "model.embed_tokens.weight": (9, 4),
    "model.layers.0.self_attn.q_proj.weight": (4, 4),
    "model.layers.0.self_attn.q_proj.bias": (4,),
    "model.layers.0.mlp.down_proj.weight": (4, 8),
    "model.layers.0.input_layernorm.weight": (4,),
    "model.vision_tower.layers.0.fc1.weight": (4, 4),
    "lm_head.weight": (9, 4),
}


def test_the_linear_layers_are_those_of_the_files_without_embeddings_and_head(tmp_path):
    save_file({name: np.zeros(shape, np.float32) for name, shape in LLAMA.items()}, tmp_path / "model.safetensors")
    assert linear_layers(LLAMA_CONFIG, "a", tmp_path) == ("down_proj", "q_proj")


def test_the_linear_layers_of_a_known_hub_model_are_known_without_its_files():
    assert linear_layers(T5_CONFIG, "google/flan-t5-base", None) == ("k", "o", "q", "v", "wi_0", "wi_1", "wo")
    assert linear_layers(T5_CONFIG, "owner/unknown", None) == ()
