"""Keys of a DeepSpeed config that contradict the recipe, or that DeepSpeed would ignore, are refused."""

from pathlib import Path

import pytest
from made_up_recipes import train_recipe

from summtune.base.places import package_path
from summtune.deepspeed.configs import bucket_size, read_ds_config, sized
from summtune.deepspeed.rules import OFFLOAD_KEYS, ZERO_KEYS, contradictions, wrong_with_config

PATH = Path("d.json")
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}


def wrong(config):
    return list(wrong_with_config(config, PATH))


def against(zero, config=None, **keys):
    recipe = train_recipe(**keys)
    return list(contradictions({"zero_optimization": zero} | (config or {}), recipe, PATH))


def test_a_misspelt_key_is_refused_with_the_nearest_one():
    (problem,) = wrong({"zero_optimisation": {"stage": 3}})
    assert "(got zero_optimisation in d.json), did you mean zero_optimization?" in problem


def test_bf16_without_zero_is_refused_because_checkpoints_cannot_hold_its_weights():
    (problem,) = against({"stage": 0}, bf16=True)
    assert "(got stage 0 with bf16: true in d.json); use ZeRO-1, or train without deepspeed" in problem
    assert against({"stage": 0}, bf16=False) == against({"stage": 1}, bf16=True) == []


@pytest.mark.parametrize(
    "key", ["curriculum_learning", "data_efficiency", "torch_autocast", "elasticity", "data_types"]
)
def test_a_key_that_changes_the_training_is_refused(key):
    (problem,) = wrong({key: {"enabled": True}})
    assert problem.endswith(f"(got {key} in d.json); remove it")
    assert wrong({key: {"enabled": False}}) == []


def test_another_precision_of_communication_is_refused():
    (problem,) = wrong({"communication_data_type": "fp16"})
    assert problem.endswith("(got communication_data_type in d.json); remove it")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("checkpoint", "load_universal"),
        ("zero_optimization", "zero_quantized_weights"),
        ("zero_optimization", "zero_quantized_nontrainable_weights"),
        ("zero_optimization", "zero_quantized_gradients"),
    ],
)
def test_a_key_inside_a_section_that_changes_the_training_is_refused(section, key):
    (problem,) = wrong({section: {key: True}})
    assert problem.endswith(f"(got {section}.{key} in d.json); remove it")
    assert wrong({section: {key: False}}) == []


def test_zenflow_is_refused_regardless_of_its_value():
    (problem,) = wrong({"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}})
    assert "(got zero_optimization.zenflow in d.json)" in problem


def test_activation_checkpointing_points_to_the_recipes_key():
    (problem,) = wrong({"activation_checkpointing": {"partition_activations": True}})
    assert "activation_checkpointing has no effect" in problem
    assert "(got it in d.json); remove it, and set gradient_checkpointing in the recipe" in problem


def test_a_misspelt_key_of_zero_is_refused_with_the_nearest_one():
    zero = {"stage": 2, "overlap_com": True, "offload_optimizer": {"device": "cpu", "pin_memori": True}}
    assert wrong({"zero_optimization": zero}) == [
        "zero_optimization has no such key (got overlap_com in d.json), did you mean overlap_comm?",
        "offload_optimizer has no such key (got pin_memori in d.json), did you mean pin_memory?",
    ]


def test_an_old_name_of_offload_is_refused_with_the_new_one():
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


def test_harmless_keys_are_accepted():
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
            "offload_optimizer can use cpu (got device 'gpu' in d.json); write cpu",
        ),
        (
            {"stage": 3, "offload_param": {"device": "nvme"}},
            "checkpoints cannot hold what is on NVMe (got device 'nvme' of offload_param in d.json); write cpu",
        ),
        (
            {"stage": 3, "offload_optimizer": {"device": "cpu", "ratio": 0.5}},
            "checkpoints cannot hold a divided optimizer (got ratio 0.5 in d.json); remove it",
        ),
        (
            {"stage": 3, "offload_param": "cpu"},
            'offload_param is not an object (got \'cpu\' in d.json); write {"device": "cpu"}',
        ),
    ],
)
def test_an_offload_without_effect_is_refused(zero, message):
    assert wrong({"zero_optimization": zero}) == [message]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_adafactor_is_refused_under_zero(stage):
    (problem,) = against({"stage": stage}, optimizer="adafactor")
    assert f"(got optimizer: adafactor with stage {stage} in d.json); use adamw_torch_fused" in problem
    assert against({"stage": 0}, optimizer="adafactor") == []


def test_sgd_is_refused_where_offload_would_replace_it_by_adam():
    (problem,) = against({"stage": 2} | OFFLOAD, optimizer="sgd")
    assert "would replace the optimizer with DeepSpeed's CPU Adam (got optimizer: sgd with d.json)" in problem
    assert against({"stage": 2} | OFFLOAD, {"zero_force_ds_cpu_optimizer": False}, optimizer="sgd") == []
    assert against({"stage": 2}, optimizer="sgd") == []
    assert against({"stage": 2} | OFFLOAD, optimizer="adamw_torch") == []


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"adapter": "qlora"}, "weights of four bits"),
        ({"adapter": "ia3", "load_in_4bit": True}, "weights of four bits"),
        ({"adapter": "prompt_tuning"}, "the embeddings of prompt_tuning"),
    ],
)
def test_weights_that_cannot_be_sharded_are_refused_under_zero_3(keys, what):
    assert against({"stage": 3}, **keys) == [
        f"{what} cannot be sharded by ZeRO-3 (got d.json); use ds_configs/zero2.json"
    ]
    assert against({"stage": 2}, **keys) == []


def test_a_bucket_is_sized_by_the_trained_weights():
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
