"""Which ways of training fit a GPU, on how many GPUs."""

import pytest
from made_up_recipes import train_recipe

from summtune.base.errors import InputError
from summtune.machine.fitting import GPU_COUNTS, fastest, fits, model_shape, room
from summtune.machine.model_shapes import KNOWN_MODELS

GIB = 2**30


def found(model="google/flan-t5-xl", gigabytes=40, bf16=True, **keys):
    keys = {"gradient_checkpointing": True, "micro_batch_size": 4, "sequence_len": 1024} | keys
    recipe = train_recipe(base_model=model, **keys)
    return fits(recipe, KNOWN_MODELS[model], gigabytes * GIB, bf16)


def test_every_shipped_config_is_tried_on_every_number_of_gpus():
    rows = found()
    ways = ["none", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload", "lora"]
    assert [(row.way, row.gpus) for row in rows] == [(way, gpus) for way in ways for gpus in GPU_COUNTS]
    assert all(row.fits == (row.memory.total <= room(40 * GIB)) for row in rows)


def test_more_gpus_and_more_sharding_need_less_memory_each():
    need = {(row.way, row.gpus): row.memory.total for row in found()}
    for way in ("zero1", "zero2", "zero3"):
        assert need[way, 1] > need[way, 2] > need[way, 4] > need[way, 8]
    assert need["none", 8] > need["zero1", 8] > need["zero2", 8] > need["zero3", 8] > need["zero3_offload", 8]


def test_xl_needs_a_host_or_a_second_gpu_of_40_gb():
    rows = found()
    assert fastest(rows, 1) == "zero2_offload"
    assert fastest(rows, 2) == "zero1"
    assert fastest(found(gigabytes=2), 8) is None
    assert fastest(found(gigabytes=200), 1) == "none"


def test_configs_that_contradict_the_recipe_are_not_proposed():
    assert list(dict.fromkeys(row.way for row in found(optimizer="adafactor"))) == ["none", "lora"]
    without_offload = ["none", "zero1", "zero2", "zero3", "lora"]
    assert list(dict.fromkeys(row.way for row in found(optimizer="sgd"))) == without_offload


def test_weights_are_twice_as_large_without_bf16():
    sharded, unsharded = ([row for row in found(bf16=bf16) if row.way == "zero2"] for bf16 in (True, False))
    assert [2 * row.memory.weights for row in sharded] == [row.memory.weights for row in unsharded]


def test_only_lora_is_proposed_for_an_adapter_recipe():
    rows = found(adapter="lora", lora_r=8)
    assert {row.way for row in rows} == {"lora"}
    assert {row.way for row in found(adapter="lora", lora_target_modules=["odd"])} == set()


def test_offload_configs_estimate_the_host_memory():
    host = {row.way: row.memory.host for row in found() if row.gpus == 1}
    parameters = KNOWN_MODELS["google/flan-t5-xl"].parameters
    assert host["zero2_offload"] == parameters * 16 * 1.5
    assert host["zero3_offload"] == parameters * 18 * 1.5
    assert host["zero2"] == host["none"] == host["lora"] == 0


def test_a_model_shape_is_found_by_name_or_folder(write_model, tmp_path):
    assert model_shape("google/flan-t5-xl") == KNOWN_MODELS["google/flan-t5-xl"]
    assert model_shape(str(write_model(tmp_path / "model"))) == KNOWN_MODELS["google/flan-t5-base"]
    with pytest.raises(InputError, match=r"\(got google/flan-t5-lx\), did you mean google/flan-t5-xl\?; or give"):
        model_shape("google/flan-t5-lx")


def test_a_folder_without_a_model_has_no_shape(tmp_path):
    with pytest.raises(InputError, match=r"no model at this path \(got .*nothing\); give a folder with config.json"):
        model_shape(str(tmp_path / "nothing"))
