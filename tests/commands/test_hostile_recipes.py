"""A recipe with any content is either resolved or refused with a message."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import call, keeps_its_promise
from mutants import TEXTS, YAML_TOKENS, as_json, as_yaml, mutated_bytes, mutated_lines, mutated_tree

from summtune.base.places import package_path
from summtune.recipe.keys import FORMS_OF

SHIPPED = sorted(
    path.relative_to(package_path("recipes")).as_posix() for path in package_path("recipes").rglob("*.yaml")
)
RICH = """\
kind: train
base_model: ./model
datasets: [{path: data.jsonl, dialogue_field: dialogue, summary_field: [summary], id_field: id, limit: 3}]
test_datasets: [{path: data.jsonl, limit: 2}]
val_set_size: 1
learning_rate: 1e-3
deepspeed: ds.json
launcher: slurm
slurm: {partition: gpu, time: '12:00:00', nodes: 2, gpus_per_node: 4, extra: ['--mem=2G'], setup: ['module load x']}
generation: {num_beams: 2, length_penalty: 1.0}
evaluation: {metrics: [rouge1, ./metric.py], metric_arguments: {metric: {a: 1, b: ./folder}}}
"""
BOTH = """\
kind: compare
recipes: [lora.yaml, {recipe: mutant.yaml, name: x, overrides: {seed: 1, datasets.0.limit: 3}}]
overrides: {seed: 2, datasets.0.limit: null, generation.num_beams: 2}
baseline: x
"""
MODEL_FILES = {
    "generation_config.json": {"decoder_start_token_id": 0, "eos_token_id": [1], "pad_token_id": 0},
    "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": {"content": "x"}},
    "tokenizer.json": {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "c"}]},
}
EXAMPLES = int(os.environ.get("SUMMTUNE_TEST_EXAMPLES", "80"))
bounded = settings(
    max_examples=EXAMPLES, derandomize="SUMMTUNE_TEST_EXAMPLES" not in os.environ, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch, write_model, write_rows):
    """The shipped recipes and what hostile ones name, as the current folder."""
    shutil.copytree(package_path("recipes"), tmp_path, dirs_exist_ok=True)
    write_model(tmp_path / "model")
    write_rows(tmp_path / "data.jsonl", 12)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "metric.py").touch()
    (tmp_path / "locked.json").touch(mode=0)
    (tmp_path / "rich.yaml").write_text(RICH)
    (tmp_path / "train.yaml").write_text("".join(RICH.splitlines(keepends=True)[:6]))
    (tmp_path / "both.yaml").write_text(BOTH)
    (tmp_path / "mutant.yaml").write_text("kind: compare\nrecipes: [both.yaml, mutant.yaml]\n")
    shutil.copy(package_path("ds_configs/zero3_offload.json"), tmp_path / "ds.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _commands(draw, name):
    commands = [("validate", name), ("run", name, "--dry-run")]
    return keeps_its_promise(call(*commands[draw % 4 == 0]))


@given(st.data())
@bounded
def test_a_recipe_of_any_bytes_is_read_or_refused(folder, data):
    source = data.draw(st.sampled_from([*SHIPPED, "rich.yaml", "both.yaml"]))
    text = (folder / source).read_text()
    target = Path(source).with_name("mutant.yaml")
    content = data.draw(mutated_bytes(text.encode()) | mutated_lines(text))
    (folder / target).write_bytes(content)
    _commands(data.draw(st.integers(0, 3)), str(target))


@given(st.data())
@bounded
def test_a_recipe_with_any_values_is_read_or_refused(folder, data):
    source = data.draw(st.sampled_from([*SHIPPED, "rich.yaml", "rich.yaml", "rich.yaml", "both.yaml", "both.yaml"]))
    tree = yaml.safe_load((folder / source).read_text())
    target = Path(source).with_name("mutant.yaml")
    (folder / target).write_bytes(as_yaml(data.draw(mutated_tree(tree, list(FORMS_OF)))))
    _commands(data.draw(st.integers(0, 3)), str(target))
    if data.draw(st.integers(0, 3)) == 0:
        _commands(data.draw(st.integers(0, 3)), "both.yaml")


_PARTS = st.sampled_from(
    [
        *FORMS_OF, "path", "limit", "extra", "metrics", "0", "1", "-1", "01", "99", "9" * 5000, "²", "٣",
        "", " ", "\x1b[2J", "a" * 300,
    ]
)  # fmt: skip


@st.composite
def _assignments(draw):
    key = ".".join(draw(st.lists(_PARTS, min_size=1, max_size=4)))
    value = draw(
        st.sampled_from(YAML_TOKENS)
        | st.sampled_from([text for text in TEXTS if "\0" not in text and "\ud800" not in text])
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
    )
    return draw(st.sampled_from([f"{key}={value}", f"{key}={value}", f"{key}={value}", key, f"={value}", value]))


@given(st.data())
@bounded
def test_any_assignment_is_applied_or_refused(folder, data):
    source = data.draw(st.sampled_from([*SHIPPED, "rich.yaml", "rich.yaml", "rich.yaml"]))
    sets = data.draw(st.lists(_assignments(), min_size=1, max_size=2))
    options = [f"--set={each}" for each in sets]
    keeps_its_promise(call("run", source, "--dry-run", *options))


@given(st.data())
@bounded
def test_a_deepspeed_config_of_any_content_is_read_or_refused(folder, data):
    text = package_path(f"ds_configs/{data.draw(st.sampled_from(['zero3_offload', 'zero2']))}.json").read_text()
    keys = ["zero_optimization", "bf16", "stage", "offload_param", "reduce_bucket_size", "optimizer"]
    content = data.draw(mutated_bytes(text.encode()) | mutated_tree(json.loads(text), keys).map(as_json))
    (folder / "ds.json").write_bytes(content)
    _commands(data.draw(st.integers(0, 1)) * 4, "rich.yaml")


@given(st.data())
@bounded
def test_a_model_folder_of_any_content_is_read_or_refused(folder, data):
    model, mutant = folder / "model", folder / "mutant"
    shutil.copytree(model, mutant, dirs_exist_ok=True)
    name = data.draw(st.sampled_from(["config.json", *MODEL_FILES, "model.safetensors"]))
    if name == "model.safetensors":
        content = (model / name).read_bytes()
        keys = ["lm_head.weight", "shape", "__metadata__"]
        header = mutated_tree(json.loads(content[8:]), keys).map(as_json)
        changed = mutated_bytes(content) | header.map(lambda text: len(text).to_bytes(8, "little") + text)
    else:
        tree = MODEL_FILES.get(name) or json.loads((model / name).read_bytes())
        keys = ["num_layers", "eos_token_id", "decoder_start_token_id", "encoder", "vocab", "pad_token"]
        changed = mutated_bytes(as_json(tree)) | mutated_tree(tree, keys).map(as_json)
    for left in MODEL_FILES:
        (mutant / left).unlink(missing_ok=True)
    (mutant / name).write_bytes(data.draw(changed))
    keeps_its_promise(call("run", "train.yaml", "--dry-run", "--set=base_model=./mutant"))
