"""Keys that a program gives are read as those in a file."""

import pathlib
from collections import OrderedDict

import numpy as np
import pytest

from summtune.base.errors import InputError
from summtune.recipe.given import document_of, json_as_yaml, settings_of
from summtune.recipe.overriding import Setting
from summtune.recipe.yaml_reader import read_yaml_value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2.5e-5,
        "1e-4",
        "no",
        "a: {b}",
        "",
        "\n\ttwo lines\r\n",
        "Łódź 😀",
        "\x85\u2028\x7f\u00a0\ufeff",
        [1, {"a": "b"}],
    ],
)
def test_a_value_is_the_same_after_reading(value):
    assert read_yaml_value(json_as_yaml(value, "key")) == value


def test_paths_tuples_mappings_and_numbers_of_other_libraries_are_accepted():
    given = OrderedDict(a=pathlib.Path("b/c"), d=(np.int64(2), np.float32(0.5)))
    assert read_yaml_value(json_as_yaml(given, "key")) == {"a": "b/c", "d": [2, 0.5]}


def test_a_value_of_an_unsupported_type_is_refused_with_its_position():
    with pytest.raises(InputError, match=r"datasets\.0\.path: .* contain a value of this type \(got set\)"):
        settings_of({"datasets": [{"path": {1}}]})
    with pytest.raises(InputError, match=r"generation: a key must be text \(got 3\); put it in quotes"):
        document_of({"generation": {3: 4}}, "generation")


@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_text_that_no_file_can_contain_is_reported(text):
    (problem,) = document_of({"base_model": text}, "mine").problems
    assert problem.message.startswith("text must not contain null characters or lone surrogates")


def test_keys_of_a_section_are_set_one_by_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings_of({"generation": {"num_beams": 4, "top_p": 0.5}, "seed": 7}) == [
        Setting("generation.num_beams", 4, "generation.num_beams=4", tmp_path),
        Setting("generation.top_p", 0.5, "generation.top_p=0.5", tmp_path),
        Setting("seed", 7, "seed=7", tmp_path),
    ]


@pytest.mark.parametrize("read", [settings_of, lambda keys: document_of(keys, "mine")])
def test_a_key_that_is_not_text_is_refused(read):
    with pytest.raises(InputError, match=r"a key must be text \(got 3\); put it in quotes"):
        read({"seed": 7, 3: 4})


def test_dotted_keys_of_a_mapping_are_those_of_a_section():
    keys = {"generation": {"num_beams": 4}, "generation.top_p": 0.5, "evaluation.use_stemmer": False}
    assert document_of(keys, "mine").value == {
        "generation": {"num_beams": 4, "top_p": 0.5},
        "evaluation": {"use_stemmer": False},
    }
