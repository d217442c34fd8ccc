"""Smoke runs for real: every bundled recipe on a tiny model, on its own layout, in jobs and on two machines."""

import os
import subprocess

import pytest
from installed_command import command_path
from misbehaving_server import MisbehavingServer
from real_command import layout, processes_of
from tiny_decoders import CHAT_TEMPLATE, write_decoder
from tiny_inputs import write_checkpoint

from summtune.base.places import package_path
from summtune.recipe.yaml_reader import read_yaml_file

RECIPES = sorted(
    path.relative_to(package_path("recipes")).as_posix() for path in package_path("recipes").rglob("*.yaml")
)
# The architectures of the models in these folders; that of the others is T5's.
ARCHITECTURES = {"smollm2-135m": "llama, tied", "qwen3-4b": "qwen3", "llama-3.1-8b": "llama"}
# As Qwen 3's: the last answer begins with its reasoning, which is empty if asked not to reason.
ANSWER = "(thought if loop.last and message['role'] == 'assistant' else '') + message['content']"
THINKING = CHAT_TEMPLATE.replace("message['content']", ANSWER)
THINKING = (
    "{% set thought = '<think>\n\n</think>\n\n' %}"
    + THINKING.removesuffix("{% endif %}")
    + ("{% if enable_thinking is defined and not enable_thinking %}{{ thought }}{% endif %}{% endif %}")
)
# Four-bit weights come in blocks of 64.
SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "max_position_embeddings": 8192}
DATA = {
    "datasets": "[{path: builtin/dialogues, limit: 60}]",
    "test_datasets": "[{path: builtin/dialogues, limit: 9}]",
    "val_set_size": 9,
    "generation.max_new_tokens": 4,
    "evaluation.bootstrap_samples": 100,
}


@pytest.fixture
def smoke(tmp_path):
    """Run ``summtune run --smoke`` to its end in an empty folder; return its output."""

    def run(recipe, *options, code=0, **environment):
        done = subprocess.run(
            [command_path(), "run", recipe, "--smoke", *options],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def model_of(model, tmp_path_factory):
    """Return a function from a bundled recipe to a tiny model of its model's architecture."""
    made = {}

    def of(name):
        architecture = ARCHITECTURES.get(name.rpartition("/")[0])
        if architecture is None:
            return model
        if architecture not in made:
            template = THINKING if architecture == "qwen3" else CHAT_TEMPLATE
            folder = tmp_path_factory.mktemp("models") / "tiny"
            made[architecture] = str(write_decoder(folder, architecture, template, **SIZES))
        return made[architecture]

    return of


def passes(said, folder, trainings=1):
    """Assert that a smoke run says that it passed, and that it left nothing."""
    assert "smoke  passed in " in said
    assert "whole run  at most " in said
    assert said.count("resuming from checkpoint-1") == trainings
    assert [path.name for path in folder.iterdir()] == []
    assert processes_of(folder) == []


def test_a_training_on_the_bundled_data_passes(smoke, model, tmp_path):
    said = smoke(package_path("recipes/lora.yaml"), *layout(base_model=model, **DATA))
    passes(said, tmp_path)
    assert "2 steps of 8 pairs, a checkpoint after step 1, a resume from it, 2 evaluations of 8 pairs, 9 summ" in said
    assert "18 steps × " not in said
    assert "21 steps × " in said, "51 pairs in batches of 8, three epochs"


@pytest.mark.slow
def test_a_prompted_model_passes(smoke, model, tmp_path):
    sets = {key: value for key, value in DATA.items() if key != "val_set_size"}
    passes(smoke(package_path("recipes/one_shot.yaml"), *layout(base_model=model, **sets)), tmp_path, trainings=0)


@pytest.fixture
def server():
    with MisbehavingServer() as started:
        yield started


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("lora.yaml", "one_shot.yaml")])
def test_every_bundled_recipe_passes(smoke, model_of, server, tmp_path, name):
    values = read_yaml_file(package_path("recipes") / name).value
    if values.get("adapter") == "qlora":
        pytest.importorskip("bitsandbytes")
    tuned = "smollm2-135m/compare.yaml" if name == "prompt_or_tune.yaml" else name
    keys, trainings = DATA | {"base_model": model_of(tuned)}, 1
    if tuned != name or "endpoint" in values:
        keys |= {"endpoint.url": server.url, "endpoint.api_key_env": "null"}
    if "endpoint" in values:
        del keys["base_model"]
    if values["kind"] == "compare":
        trainings = 2
    elif values["kind"] == "prompt":
        trainings = 0
        del keys["val_set_size"]
        if not values.get("shots"):
            del keys["datasets"]
    # Where there are no GPUs, a recipe that divides its states over all of them is divided over two processes.
    if "deepspeed" in values and "num_processes" not in values:
        keys["num_processes"] = 2
    passes(smoke(package_path(f"recipes/{name}"), *layout(**keys)), tmp_path, trainings)
