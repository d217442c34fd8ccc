"""What contradicts the recipe in a DeepSpeed config, and what DeepSpeed would pass over, is told."""

from pathlib import Path

import pytest

from summtune.base.places import package_path
from summtune.deepspeed.configs import bucket_size, read_ds_config, sized
from summtune.deepspeed.rules import OFFLOAD_KEYS, ZERO_KEYS, contradictions, wrong_with_config
from summtune.recipe.keys import Recipe

PATH = Path("d.json")
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}


def wrong(config):
    return list(wrong_with_config(config, PATH))


def against(zero, config=None, **keys):
    recipe = Recipe.model_validate({"kind": "train", "base_model": "m"} | keys)
    return list(contradictions({"zero_optimization": zero} | (config or {}), recipe, PATH))


def test_a_misspelt_key_is_told_with_the_nearest():
    assert wrong({"zero_optimisation": {"stage": 3}}) == [
        "DeepSpeed knows no such key and would pass over it (got zero_optimisation in d.json), did you mean "
        "zero_optimization?"
    ]


@pytest.mark.parametrize(
    "key", ["curriculum_learning", "data_efficiency", "torch_autocast", "elasticity", "data_types"]
)
def test_what_would_train_another_way_is_told(key):
    assert wrong({key: {"enabled": True}}) == [
        f"the DeepSpeed config would train another way than the recipe says (got {key} in d.json); remove it"
    ]
    assert wrong({key: {"enabled": False}}) == []


def test_numbers_that_are_sent_in_another_precision_are_told():
    assert wrong({"communication_data_type": "fp16"}) == [
        "the DeepSpeed config would train another way than the recipe says (got communication_data_type in d.json); "
        "remove it"
    ]


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("checkpoint", "load_universal"),
        ("zero_optimization", "zero_quantized_weights"),
        ("zero_optimization", "zero_quantized_nontrainable_weights"),
        ("zero_optimization", "zero_quantized_gradients"),
    ],
)
def test_what_would_train_another_way_is_told_inside_sections_too(section, key):
    assert wrong({section: {key: True}}) == [
        f"the DeepSpeed config would train another way than the recipe says (got {section}.{key} in d.json); remove it"
    ]
    assert wrong({section: {key: False}}) == []


def test_zenflow_is_told_whatever_it_holds():
    (problem,) = wrong({"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}})
    assert "(got zero_optimization.zenflow in d.json)" in problem


def test_deepspeeds_own_recomputing_is_told_where_the_recipes_is():
    assert wrong({"activation_checkpointing": {"partition_activations": True}}) == [
        "activation_checkpointing has no effect on a model of transformers (got it in d.json); remove it, and set "
        "gradient_checkpointing in the recipe"
    ]


def test_a_misspelt_key_of_zero_is_told_with_the_nearest():
    zero = {"stage": 2, "overlap_com": True, "offload_optimizer": {"device": "cpu", "pin_memori": True}}
    assert wrong({"zero_optimization": zero}) == [
        "zero_optimization has no such key (got overlap_com in d.json), did you mean overlap_comm?",
        "offload_optimizer has no such key (got pin_memori in d.json), did you mean pin_memory?",
    ]


def test_an_old_name_of_offload_is_told_with_the_new_one():
    assert wrong({"zero_optimization": {"stage": 2, "cpu_offload": True}}) == [
        'cpu_offload is an old name (got it in d.json); write "offload_optimizer": {"device": "cpu"}'
    ]
    assert wrong({"zero_optimization": {"stage": 3, "cpu_offload_param": True}}) == [
        'cpu_offload_param is an old name (got it in d.json); write "offload_param": {"device": "cpu"}'
    ]


@pytest.mark.filterwarnings("ignore")
def test_the_keys_of_zero_are_those_of_deepspeed():
    pytest.importorskip("deepspeed")
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.offload_config import (
        DeepSpeedZeroOffloadOptimizerConfig,
        DeepSpeedZeroOffloadParamConfig,
    )

    def keys(model):
        return sorted({name for key, field in model.model_fields.items() for name in (key, field.alias) if name})

    assert list(ZERO_KEYS) == keys(DeepSpeedZeroConfig)
    assert list(OFFLOAD_KEYS["offload_optimizer"]) == keys(DeepSpeedZeroOffloadOptimizerConfig)
    assert list(OFFLOAD_KEYS["offload_param"]) == keys(DeepSpeedZeroOffloadParamConfig)


def test_harmless_keys_are_left_alone():
    assert wrong({"steps_per_print": 10, "wall_clock_breakdown": True, "flops_profiler": {"enabled": True}}) == []


@pytest.mark.parametrize(
    ("zero", "message"),
    [
        (
            {"stage": 2, "offload_param": {"device": "cpu"}},
            "offload_param has no effect below ZeRO-3 (got stage 2 in d.json); remove it or raise the stage",
        ),
        (
            {"stage": 0} | OFFLOAD,
            "offload_optimizer has no effect below ZeRO-1 (got stage 0 in d.json); remove it or raise the stage",
        ),
        (
            {"stage": 2, "offload_optimizer": {"device": "gpu"}},
            "offload_optimizer goes to cpu or nvme (got device 'gpu' in d.json); write cpu",
        ),
        (
            {"stage": 3, "offload_param": "cpu"},
            'offload_param is no object (got \'cpu\' in d.json); write {"device": "cpu"}',
        ),
    ],
)
def test_an_offload_without_effect_is_told(zero, message):
    assert wrong({"zero_optimization": zero}) == [message]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_adafactor_cannot_be_divided(stage):
    (problem,) = against({"stage": stage}, optimizer="adafactor")
    assert problem == (
        "ZeRO gives the optimizer flat parts of the weights, in which Adafactor finds no rows and columns (got "
        f"optimizer: adafactor with stage {stage} in d.json); use adamw_torch_fused, or train without deepspeed"
    )
    assert against({"stage": 0}, optimizer="adafactor") == []


def test_offload_would_replace_sgd_by_adam():
    (problem,) = against({"stage": 2} | OFFLOAD, optimizer="sgd")
    assert "Adam for the CPU would take the place of the optimizer (got optimizer: sgd with d.json)" in problem
    assert against({"stage": 2} | OFFLOAD, {"zero_force_ds_cpu_optimizer": False}, optimizer="sgd") == []
    assert against({"stage": 2}, optimizer="sgd") == []
    assert against({"stage": 2} | OFFLOAD, optimizer="adamw_torch") == []


def test_four_bits_are_not_sharded():
    assert against({"stage": 3}, adapter="qlora") == [
        "qlora cannot be sharded by ZeRO-3 (got d.json); use ds_configs/zero2.json"
    ]
    assert against({"stage": 2}, adapter="qlora") == []


def test_a_bucket_is_no_larger_than_it_need_be():
    assert bucket_size(3_538_944) == 3_538_944
    assert bucket_size(247_577_856) == 25_000_000
    assert bucket_size(2_849_757_184) == 284_975_718
    assert bucket_size(11_135_332_352) == 500_000_000


def test_only_a_config_that_names_no_bucket_gets_one():
    config = read_ds_config(package_path("ds_configs/zero2.json"))
    assert sized(config, 1000)["zero_optimization"] == config["zero_optimization"] | {"reduce_bucket_size": 1000}
    assert sized(config, None) == config
    named = {"zero_optimization": {"stage": 2, "reduce_bucket_size": 7}}
    assert sized(named, 1000) == named
    assert sized({"zero_optimization": {"stage": 0}}, 1000) == {"zero_optimization": {"stage": 0}}
