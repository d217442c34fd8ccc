"""Weights are counted from the config."""

import json

import pytest

from summtune.base.errors import ModelError
from summtune.machine.model_shapes import KNOWN_MODELS, shape_of
from summtune.machine.stored_tensors import stored_tensors

BASE = KNOWN_MODELS["google/flan-t5-base"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("google/flan-t5-small", 76_961_152),
        ("google/flan-t5-base", 247_577_856),
        ("google/flan-t5-large", 783_150_080),
        ("google/flan-t5-xl", 2_849_757_184),
        ("google/flan-t5-xxl", 11_135_332_352),
    ],
)
def test_known_models_have_their_published_sizes(name, parameters):
    assert shape_of(name, None).parameters == parameters


def test_a_local_model_is_counted_from_its_config_and_its_headers(tmp_path, write_model):
    assert shape_of("./model", write_model(tmp_path / "untied")) == BASE
    assert shape_of("./model", write_model(tmp_path / "tied", tied=True)).parameters == 222_903_552
    small = write_model(tmp_path / "plain", feed_forward_proj="relu", num_decoder_layers=None, num_layers=6)
    shape = shape_of("./model", small)
    assert (shape.gated, shape.num_decoder_layers) == (False, 6)
    assert shape.layer_sizes["wi"] == (12, 768, 2048)
    assert not {"wi_0", "wi_1"} & set(shape.layer_sizes)


def test_the_shape_of_an_unknown_model_is_none(tmp_path, write_model):
    assert shape_of("facebook/bart-base", None) is None
    assert shape_of("./model", write_model(tmp_path / "bart", model_type="bart")) is None
    assert shape_of("./model", tmp_path) is None
    (tmp_path / "config.json").write_text("{")
    assert shape_of("./model", tmp_path) is None
    (tmp_path / "config.json").write_text("[]")
    assert shape_of("./model", tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    assert shape_of("./model", tmp_path) is None


def test_tensors_of_all_shards_are_found(tmp_path, write_model):
    write_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001.safetensors")
    write_model(tmp_path, tied=True, vocab_size=512)
    found = stored_tensors(tmp_path)
    assert (found["lm_head.weight"], found["shared.weight"]) == ((32128, 768), (512, 768))


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"",
        b"\x02\x00\x00\x00\x00\x00\x00\x00[]",
        b'\x07\x00\x00\x00\x00\x00\x00\x00{"a":1}',
        b"\xff" * 64,
    ],
)
def test_a_file_that_is_safetensors_by_name_only_is_refused(tmp_path, write_model, content):
    (write_model(tmp_path) / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"not a safetensors file \(got .*model.safetensors\); .*`git lfs pull`"):
        shape_of("./model", tmp_path)


@pytest.mark.parametrize("key", ["vocab_size", "d_model", "d_ff", "num_layers", "num_decoder_layers", "num_heads"])
@pytest.mark.parametrize("value", ["512", -1, 10**25, [1], {}, 1.5, True])
def test_a_size_that_is_not_a_positive_number_is_refused(tmp_path, write_model, key, value):
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{key} of a T5 model must be a whole number from 1 to .* \\(got ") as told:
        shape_of("x", folder)
    assert f"(got {value!r} in {folder / 'config.json'}); copy the model again" in str(told.value)


@pytest.mark.parametrize("content", ["[" * 100_000, "\ufeff{}", "[]", "7", '{"model_type": []}'])
def test_the_shape_of_an_unreadable_config_is_none(tmp_path, write_model, content):
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text(content)
    assert shape_of("x", folder) is None
