"""Adapters and quantization, as a recipe names them and as a plan holds them."""

import pytest
from made_up_recipes import prompt_recipe, train_recipe

from summtune.machine.model_shapes import KNOWN_MODELS
from summtune.recipe.adapters import (
    Ia3,
    Lora,
    PromptTuning,
    Quantization,
    adapter_of,
    quantization_of,
    takes_weights_of_the_base,
    virtual_tokens,
    with_layers,
)
from summtune.recipe.families import layer_names

BASE = KNOWN_MODELS["google/flan-t5-base"]
SIZES = BASE.layer_sizes
LINEAR = ("k", "o", "q", "v", "wi_0", "wi_1", "wo")
T5 = layer_names({"model_type": "t5"}, LINEAR)
LLAMA = layer_names({"model_type": "llama"}, ("down_proj", "q_proj"))


def recipe(**keys):
    return train_recipe(**keys)


def lora(targets, r=8, **keys):
    return adapter_of(recipe(adapter="lora", lora_r=r, lora_target_modules=targets, **keys), None)


def test_all_weights_have_neither_adapter_nor_quantization():
    assert (adapter_of(recipe(), T5), quantization_of(recipe())) == (None, None)


def test_qlora_is_lora_on_quantized_weights():
    plain, quantized = recipe(adapter="lora", lora_r=4), recipe(adapter="qlora", lora_r=4)
    assert adapter_of(quantized, T5) == adapter_of(plain, T5)
    assert isinstance(adapter_of(plain, T5), Lora)
    assert (quantization_of(plain), quantization_of(quantized)) == (None, Quantization(scheme="nf4"))


def test_an_adapter_holds_the_keys_of_its_recipe():
    keys = {"lora_alpha": 9, "lora_dropout": 0.5, "peft_use_dora": True, "peft_use_rslora": True}
    found = lora(["o"], **keys)
    assert found == Lora(r=8, alpha=9, dropout=0.5, targets=["o"], dora=True, rslora=True)
    assert Lora.model_validate_json(found.model_dump_json()) == found


def ia3(**keys):
    return adapter_of(recipe(adapter="ia3", **keys), T5)


def test_ia3_scales_what_the_paper_does():
    assert ia3() == Ia3(targets=["k", "v", "wo"], feedforward=["wo"])
    assert quantization_of(recipe(adapter="ia3")) is None
    bart = adapter_of(recipe(adapter="ia3"), layer_names({"model_type": "bart"}))
    assert bart == Ia3(targets=["k_proj", "v_proj", "fc2"], feedforward=["fc2"])
    assert Ia3.model_validate_json(bart.model_dump_json()) == bart


@pytest.mark.parametrize(
    ("keys", "targets", "feedforward"),
    [
        ({"ia3_target_modules": ["q", "wo"]}, ["q", "wo"], ["wo"]),
        ({"ia3_target_modules": ["q"]}, ["q"], []),
        ({"ia3_target_modules": ["q"], "ia3_feedforward_modules": ["wi_0"]}, ["q", "wi_0"], ["wi_0"]),
        ({"ia3_feedforward_modules": []}, ["k", "v", "wo"], []),
    ],
)
def test_a_recipe_names_the_layers_that_ia3_scales(keys, targets, feedforward):
    assert ia3(**keys) == Ia3(targets=targets, feedforward=feedforward)


def test_ia3_has_one_weight_per_output_or_per_input_of_a_feed_forward_layer():
    assert ia3().parameters(SIZES) == 2 * 36 * 768 + 24 * 2048
    assert ia3(ia3_feedforward_modules=[]).parameters(SIZES) == 2 * 36 * 768 + 24 * 768
    assert ia3(ia3_target_modules=["fc1"]).parameters(SIZES) is None


def test_ia3_keeps_what_it_multiplies_in_fp32():
    kept = {layer: ia3().kept_bytes({layer: SIZES[layer]}, 2, 4) for layer in ("q", "k", "wo")}
    assert kept == {"q": 0, "k": 4 * 768, "wo": 4 * 2048}


def test_layers_that_a_recipe_leaves_out_are_those_of_the_model():
    given = recipe(adapter="lora")
    assert adapter_of(given, T5).targets == ["q", "v"]
    assert with_layers(given, adapter_of(given, T5)).lora_target_modules == ["q", "v"]
    assert adapter_of(given, None).targets == []
    assert with_layers(given, adapter_of(given, None)).lora_target_modules is None
    scaled = recipe(adapter="ia3")
    filled = with_layers(scaled, adapter_of(scaled, T5))
    assert (filled.ia3_target_modules, filled.ia3_feedforward_modules) == (["k", "v", "wo"], ["wo"])
    assert with_layers(recipe(), None).lora_target_modules is None


def test_lora_on_q_and_v_of_flan_t5_base_has_the_published_size():
    trainable = lora(["q", "v"], 32).parameters(SIZES)
    assert trainable == 3_538_944
    assert BASE.parameters + trainable == 251_116_800


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (["q"], 36 * 8 * (768 + 768)),
        (["q", "k", "v", "o"], 4 * 36 * 8 * (768 + 768)),
        (["wi_0", "wi_1"], 2 * 24 * 8 * (768 + 2048)),
        (["wo"], 24 * 8 * (2048 + 768)),
        (["lm_head"], 8 * (768 + 32128)),
    ],
)
def test_lora_is_rank_times_inputs_and_outputs_of_each_layer(targets, count):
    assert lora(targets).parameters(SIZES) == count


def test_dora_adds_one_magnitude_per_output():
    assert lora(["q"], peft_use_dora=True).parameters(SIZES) - lora(["q"]).parameters(SIZES) == 36 * 768


@pytest.mark.parametrize("targets", [["wi"], ["q", "query"], ["shared"]])
def test_layers_that_the_model_does_not_have_cannot_be_counted(targets):
    assert lora(targets).parameters(SIZES) is None


def test_the_layers_of_a_model_that_was_not_fetched_cannot_be_counted():
    assert adapter_of(recipe(adapter="lora"), None).parameters(SIZES) is None


@pytest.mark.parametrize("activation", [2, 4])
def test_lora_keeps_a_mask_in_fp32_what_is_left_of_its_input_and_what_its_first_matrix_writes(activation):
    assert lora(["q", "wo"]).kept_bytes({"wo": SIZES["wo"]}, activation, 4) == (4 + activation) * 2048 + activation * 8
    assert lora(["q"]).kept_bytes({"wo": SIZES["wo"]}, activation, 4) == 0
    both = {layer: SIZES[layer] for layer in ("q", "k", "v")}
    assert lora(["q", "v"]).kept_bytes(both, activation, 4) == 2 * ((4 + activation) * 768 + activation * 8)


def test_without_dropout_lora_shares_its_input_in_fp32_and_copies_it_in_bf16():
    readers = {layer: SIZES[layer] for layer in ("q", "k", "v")}
    adapter = lora(["q", "v"], lora_dropout=0.0)
    assert adapter.kept_bytes(readers, 4, 4) == 4 * (768 + 2 * 8)
    assert adapter.kept_bytes(readers, 2, 4) == 2 * 2 * (768 + 8)
    dropping = lora(["q"]).kept_bytes(readers, 2, 1)
    assert dropping == (1 + 2) * 768 + 2 * 8, "a mask of bytes, as on a GPU"


def test_lora_targets_what_the_family_does_by_default():
    assert adapter_of(recipe(adapter="lora"), T5).targets == ["q", "v"]
    assert adapter_of(recipe(adapter="lora"), LLAMA).targets == ["down_proj", "q_proj"]
    assert ia3_of(LLAMA) == Ia3(targets=["k_proj", "v_proj", "down_proj"], feedforward=["down_proj"])


def ia3_of(names):
    return adapter_of(recipe(adapter="ia3"), names)


def test_a_fused_projection_is_scaled_once():
    assert ia3_of(layer_names({"model_type": "gpt_neox"})).targets == ["query_key_value", "dense_4h_to_h"]


@pytest.mark.parametrize(
    ("names", "linear", "targets"),
    [
        (T5, True, list(LINEAR)),
        (T5, False, ["q", "v"]),
        (LLAMA, True, ["down_proj", "q_proj"]),
        (LLAMA, False, ["q_proj", "v_proj"]),
        (layer_names({"model_type": "gpt_neox"}), False, ["query_key_value"]),
        (None, True, []),
    ],
)
def test_a_flag_chooses_between_all_linear_layers_and_queries_and_values(names, linear, targets):
    given = recipe(adapter="lora", lora_target_linear=linear)
    assert adapter_of(given, names).targets == targets
    filled = with_layers(given, adapter_of(given, names))
    assert filled.lora_target_modules == (targets or None)
    assert filled.lora_target_linear == (None if targets else linear)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "gaussian", None])
def test_the_first_values_tell_whether_lora_takes_weights_of_the_base(start):
    found = lora(["q"], peft_init_lora_weights=start, loraplus_lr_ratio=4)
    assert (found.init, found.lr_ratio) == (start, 4)
    assert takes_weights_of_the_base(start) == (start not in ("gaussian", None))


def test_four_bits_are_chosen_by_the_adapter_or_by_their_key():
    assert quantization_of(recipe(adapter="lora", load_in_4bit=True)) == Quantization(scheme="nf4")
    assert quantization_of(recipe(adapter="lora", load_in_4bit=False)) is None
    assert quantization_of(prompt_recipe(load_in_4bit=True)) == Quantization(scheme="nf4")
    assert quantization_of(prompt_recipe()) is None


def test_prompt_tuning_trains_an_embedding_per_virtual_token():
    found = adapter_of(recipe(adapter="prompt_tuning", num_virtual_tokens=8, prompt_tuning_init_text="Sum up"), None)
    assert found == PromptTuning(tokens=8, text="Sum up")
    assert PromptTuning.model_validate_json(found.model_dump_json()) == found
    assert found.layers() == {}
    assert found.parameters(SIZES) == 8 * 768
    assert found.parameters({}) is None
    assert found.kept_bytes({"q": SIZES["q"]}, 4, 4) == 0


@pytest.mark.parametrize(
    ("given", "tokens"),
    [(recipe(adapter="prompt_tuning"), 20), (recipe(adapter="lora"), 0), (recipe(), 0), (prompt_recipe(), 0)],
)
def test_only_prompt_tuning_adds_tokens_to_a_prompt(given, tokens):
    assert virtual_tokens(given) == tokens
