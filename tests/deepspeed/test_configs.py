"""DeepSpeed configs are read completely or refused with the key that is wrong."""

import json

import pytest

from summtune.base.errors import InputError
from summtune.deepspeed.configs import read_ds_config


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"train_batch_size": "auto", "gradient_clipping": "auto"},
        {"fp16": {"enabled": False}},
        {"fp16": {"enabled": "auto", "loss_scale": 0}},
        {"bf16": {"enabled": "auto"}},
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
    ],
)
def test_a_config_that_leaves_the_recipes_settings_open_is_read(tmp_path, config):
    (tmp_path / "d.json").write_text(json.dumps(config))
    read = read_ds_config(tmp_path / "d.json")
    assert {key: read[key] for key in config} == config
    left_out = set(read) - set(config)
    assert {"gradient_accumulation_steps", "train_micro_batch_size_per_gpu"} <= left_out
    assert read["bf16"] == {"enabled": "auto"}
    assert all(read[key] == ({"enabled": "auto"} if key == "bf16" else "auto") for key in left_out)


def test_zero_3_saves_a_model_unless_the_config_forbids_it(tmp_path):
    gather = "stage3_gather_16bit_weights_on_model_save"
    (tmp_path / "d.json").write_text('{"zero_optimization": {"stage": 3}}')
    assert read_ds_config(tmp_path / "d.json")["zero_optimization"] == {"stage": 3, gather: True}
    (tmp_path / "d.json").write_text(json.dumps({"zero_optimization": {"stage": 3, gather: False}}))
    with pytest.raises(InputError, match=rf"without {gather} ZeRO-3 saves no model \(got False in .*d.json\)"):
        read_ds_config(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"train_batch_size": 8}', r"got train_batch_size in .*; write \"auto\" there and set micro_batch_size, "),
        ('{"train_micro_batch_size_per_gpu": 8}', r"got train_micro_batch_size_per_gpu in .* set micro_batch_size$"),
        ('{"gradient_accumulation_steps": 2}', "set gradient_accumulation_steps$"),
        ('{"gradient_clipping": 1.0}', "got gradient_clipping .* set max_grad_norm$"),
        ('{"optimizer": {"type": "AdamW"}}', "got optimizer .* set optimizer, learning_rate and weight_decay$"),
        ('{"scheduler": {"type": "WarmupLR"}}', "got scheduler .* set lr_scheduler$"),
        ('{"fp16": {"enabled": true}}', r"got fp16 .* set bf16 \(T5 overflows in fp16\)$"),
        ('{"bf16": {"enabled": true}}', "got bf16 .* set bf16$"),
        ('{"bf16": {"enabled": false}}', "got bf16 .* set bf16$"),
        ('{"bf16": {"enabled": "auto", "bf16_optimizer_states": true}}', "got bf16 .* set bf16$"),
        ('{"gradient_clipping": 0}', "got gradient_clipping .* set max_grad_norm$"),
        ('{"zero_optimization": {}, "zero_optimization": {}}', "duplicate key 'zero_optimization'"),
        (
            '{"zero_optimisation": {"stage": 2}}',
            r"no such key .*\(got zero_optimisation in .*did you mean zero_optimiz",
        ),
        ("{", r"cannot be read \(got .*d.json: .*\); write a JSON object"),
        ("[]", r"not a JSON object \(got .*d.json\); see ds_configs/ for examples"),
        ('{"zero_optimization": 2}', r"zero_optimization .* a stage from 0 to 3 \(got 2 in "),
        ('{"zero_optimization": {"stage": "2"}}', r"a stage from 0 to 3 \(got '2' in "),
        ('{"zero_optimization": {"stage": 4}}', r"a stage from 0 to 3 \(got 4 in "),
        ('{"zero_optimization": {"offload_optimizer": "cpu"}}', r"offload_optimizer is not an object \(got 'cpu' in "),
    ],
)
def test_a_config_that_is_invalid_or_contradicts_the_recipe_is_refused(tmp_path, content, match):
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(InputError, match=match):
        read_ds_config(tmp_path / "d.json")


def test_a_missing_config_is_refused(tmp_path):
    with pytest.raises(InputError, match="the DeepSpeed config cannot be read"):
        read_ds_config(tmp_path / "nowhere.json")
