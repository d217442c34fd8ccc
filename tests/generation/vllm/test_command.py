"""The command and the environment of vLLM's server."""

import json
from pathlib import Path

import pytest
from made_up_recipes import prompt_recipe, train_recipe

from summtune.generation.vllm.command import HOST, Served, serve_command, serve_environment, served_by

TRAINED = Path("/runs/one/model")


def options(recipe, precision="bf16", devices=4):
    served = served_by(recipe, "/models/base", TRAINED)
    command = serve_command("/vllm", recipe, served, precision=precision, devices=devices, port="8001")
    assert command[:2] == ["/vllm", "serve"]
    return command[2], command[3:]


def value(given, option):
    return given[given.index(option) + 1]


def test_the_recipe_decides_what_is_served_and_how():
    recipe = prompt_recipe(sequence_len=1000, seed=7, generation={"max_new_tokens": 24})
    model, given = options(recipe)
    assert model == "/models/base"
    expected = {
        "--tensor-parallel-size": "4", "--max-model-len": "1024", "--seed": "7", "--dtype": "bfloat16",
        "--port": "8001", "--host": HOST, "--load-format": "safetensors", "--generation-config": "vllm",
    }  # fmt: skip
    assert {option: value(given, option) for option in expected} == expected
    assert value(options(recipe, "fp32")[1], "--dtype") == "float32"
    assert not {"--enable-lora", "--api-key", "--trust-remote-code"} & set(given)


def test_a_fully_trained_model_is_served_by_itself():
    model, given = options(train_recipe())
    assert model == str(TRAINED)
    assert "--enable-lora" not in given


@pytest.mark.parametrize(
    ("keys", "rank"),
    [
        ({"lora_r": 1}, "8"),
        ({"lora_r": 16}, "16"),
        ({"lora_r": 17}, "32"),
        ({"lora_r": 257}, "320"),
        ({"lora_r": 16, "peft_init_lora_weights": "pissa"}, "32"),
        ({"lora_r": 16, "peft_init_lora_weights": "gaussian"}, "16"),
    ],
)
def test_a_lora_is_served_on_its_base_with_room_for_its_rank(keys, rank):
    model, given = options(train_recipe(adapter="lora", **keys))
    assert model == "/models/base"
    assert value(given, "--max-lora-rank") == rank
    assert json.loads(value(given, "--lora-modules")) == {"name": "tuned", "path": str(TRAINED)}


def test_requests_name_what_is_served_and_the_server_says_where_it_is_from():
    assert (Served("/models/base", None).name, Served("/models/base", None).root) == ("base", "/models/base")
    lora = Served("/models/base", TRAINED)
    assert (lora.name, lora.root) == ("tuned", str(TRAINED))


def test_the_server_is_offline_sends_nothing_and_reads_nothing_of_another_python():
    given = {
        "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0,1", "LD_LIBRARY_PATH": "/lib", "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": "/of/summtune", "PYTHONHOME": "/x", "ACCELERATE_USE_CPU": "1", "RANK": "0", "MASTER_PORT": "1",
    }  # fmt: skip
    environment = serve_environment(given, "the key")
    kept = {key: environment.get(key) for key in given}
    assert kept == dict.fromkeys(given) | {
        "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0,1", "LD_LIBRARY_PATH": "/lib", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    assert environment["VLLM_API_KEY"] == "the key"
    assert (environment["VLLM_NO_USAGE_STATS"], environment["DO_NOT_TRACK"]) == ("1", "1")
