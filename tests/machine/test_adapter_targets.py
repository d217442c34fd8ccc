import numpy as np
import pytest
from safetensors.numpy import save_file

from summtune.machine.adapter_targets import wrong_targets

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
        raise AssertionError(*wrong_targets(["q_proj", target], "a", folder))


def test_targets_match_any_end_of_a_layer_name(folder):
    targets = ["q_proj", "self_attn.v_proj", f"{LAYER}.fc1"]
    assert list(wrong_targets(targets, "a", folder)) == []


def test_a_layer_listed_twice_is_refused(folder):
    assert list(wrong_targets(["fc1", "q_proj", "fc1"], "a", folder)) == [
        "lora_target_modules lists a layer twice (got 'fc1'); remove one"
    ]


def test_an_untied_lm_head_takes_an_adapter(folder):
    save_file({"lm_head.weight": np.zeros((9, 4), np.float32)}, folder / "more.safetensors")
    assert list(wrong_targets(["lm_head"], "a", folder)) == []


def test_the_layers_of_a_known_hub_model_are_known_without_its_files(folder):
    known = "google/flan-t5-base"
    assert list(wrong_targets(["q", "wi_0", "lm_head"], known, None)) == []
    (message,) = wrong_targets(["q_proj"], known, None)
    assert "the model has k, lm_head, o, q, v, wi_0, wi_1, wo" in message
    assert list(wrong_targets(["q_proj"], "facebook/bart-base", None)) == []
