"""DialogSum itself and checkpoints with the shape, vocabulary and file layout of FLAN-T5."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from families import loaded_by_transformers
from made_up_recipes import train_recipe
from real_command import run_to_the_end

from summtune.base.files import read_jsonl
from summtune.machine.model_shapes import KNOWN_MODELS
from summtune.recipe.adapters import adapter_of

pytestmark = [pytest.mark.slow, pytest.mark.real]

SYSTEMS = ["zero-shot", "one-shot", "full", "lora"]


@pytest.fixture(scope="module")
def flan_t5_shaped(test_data):
    """Write a checkpoint of a size and return its folder."""

    def write(size, folder):
        tool = test_data / "tools" / "flan_t5_shaped.py"
        subprocess.run([sys.executable, tool, "--size", size, "--out", folder], check=True, capture_output=True)
        return folder

    return write


def recipes_in(folder, model, dialogsum):
    """Write the four systems and their comparison; return the comparison's recipe."""
    train = [{"path": str(dialogsum / "validation.jsonl"), "id_field": "fname", "limit": 64}]
    three = ["summary1", "summary2", "summary3"]
    test = [{"path": str(dialogsum / "test.jsonl"), "summary_field": three, "id_field": "fname", "limit": 16}]
    common = {"base_model": str(model), "test_datasets": test, "generation": {"max_new_tokens": 16}}
    training = {"kind": "train", "datasets": train, "max_steps": 4, "logging_steps": 1}
    one_shot = {"kind": "prompt", "shots": 1, "datasets": train, "sequence_len": 1024}
    for name, keys in {
        "zero_shot": {"kind": "prompt"},
        "one_shot": one_shot,
        "full_ft": training | {"learning_rate": 1e-3},
        "lora": training | {"learning_rate": 1e-2, "adapter": "lora", "lora_r": 4},
    }.items():
        (folder / f"{name}.yaml").write_text(json.dumps(common | keys))
    files = ["zero_shot.yaml", "one_shot.yaml", "full_ft.yaml", "lora.yaml"]
    systems = [{"recipe": file, "name": name} for file, name in zip(files, SYSTEMS, strict=True)]
    path = folder / "compare.yaml"
    path.write_text(json.dumps({"kind": "compare", "recipes": systems}))
    return path


@pytest.fixture(scope="module")
def comparison(test_data, flan_t5_shaped, tmp_path_factory):
    """Four systems on DialogSum, with the real tokenizer."""
    folder = tmp_path_factory.mktemp("dialogsum")
    model = flan_t5_shaped("tiny", folder / "tiny")
    return run_to_the_end(recipes_in(folder, model, test_data / "data" / "dialogsum"), folder / "run")


@pytest.fixture(scope="module")
def run_dirs(comparison):
    return {system["name"]: Path(system["run_dir"]) for system in comparison.json("comparison.json")["systems"]}


def test_every_system_is_scored_on_the_same_dialogues_against_three_references(comparison, run_dirs):
    assert list(run_dirs) == SYSTEMS
    ids = set()
    for run_dir in run_dirs.values():
        rows = list(read_jsonl(run_dir / "predictions.jsonl"))
        assert {len(row["references"]) for row in rows} == {3}
        assert len(rows) == json.loads((run_dir / "metrics.json").read_text())["n"] == 16
        assert not any("�" in row["prediction"] for row in rows)
        ids.add(tuple(row["id"] for row in rows))
    assert len(ids) == 1
    for system in comparison.json("comparison.json")["systems"]:
        assert 0 <= system["metrics"]["rouge1"]["value"] <= 1
    assert comparison.json("comparison.json")["differences"]


def test_the_reports_are_written(comparison, run_dirs):
    page = (comparison.folder / "report.html").read_text()
    assert all(name in page for name in SYSTEMS)
    assert all((run_dir / "report.html").stat().st_size > 1000 for run_dir in run_dirs.values())
    for name in ("full", "lora"):
        card = (run_dirs[name] / "model" / "README.md").read_text()
        assert "ROUGE" in card
        assert "dialogsum" in card.lower() or "validation.jsonl" in card


def test_parameters_are_counted_stored_and_printed(comparison, run_dirs):
    total = 2 * 32128 * 64 + 2 * 32 * 4 + 2 * (4 * 64 * 64 + 3 * 64 * 128) + 2 * (8 * 64 * 64 + 3 * 64 * 128) + 12 * 64
    adapter = 6 * 2 * 4 * (64 + 64)
    systems = {system["name"]: system for system in comparison.json("comparison.json")["systems"]}
    for name, (trainable, all_of_them) in {
        "zero-shot": (0, total),
        "full": (total, total),
        "lora": (adapter, total + adapter),
    }.items():
        assert (systems[name]["trainable_parameters"], systems[name]["total_parameters"]) == (trainable, all_of_them)
        if trainable:
            assert f"training {trainable:,} of {all_of_them:,} parameters" in comparison.said
            training = json.loads((run_dirs[name] / "training.json").read_text())
            assert (training["trainable_parameters"], training["total_parameters"]) == (trainable, all_of_them)
            assert training["pairs"] == 64


def test_training_with_the_real_tokenizer_learns(run_dirs):
    losses = [row["loss"] for row in read_jsonl(run_dirs["full"] / "train_log.jsonl")]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_the_fine_tuned_model_is_one_that_transformers_loads(run_dirs):
    model = loaded_by_transformers(run_dirs["full"] / "model")
    assert model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()
    assert (run_dirs["lora"] / "model" / "adapter_model.safetensors").exists()


def test_flan_t5_base_has_its_parameters_and_lora_trains_its_share(flan_t5_shaped, tmp_path):
    folder = flan_t5_shaped("base", tmp_path / "base")
    code = (
        "import torch\nfrom pathlib import Path\nfrom summtune.recipe.adapters import adapter_of\n"
        "from summtune.recipe.keys import TrainRecipe\nfrom summtune.work.models.adapters import add_adapter\n"
        "from summtune.work.models.loading import count_parameters, load_model\n"
        f"model = load_model(Path({str(folder)!r}), torch.bfloat16)\n"
        "apart = model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()\n"
        "whole = count_parameters(model)\n"
        "data = [{'path': 'builtin/dialogues'}]\n"
        "recipe = TrainRecipe.model_validate({'kind': 'train', 'base_model': 'a/b', 'datasets': data, "
        "'test_datasets': data, 'learning_rate': 1e-3, 'adapter': 'lora', 'lora_target_modules': ['q', 'v']})\n"
        "adapted = add_adapter(model, adapter_of(recipe, None), 'google/flan-t5-base')\n"
        "print(apart, whole, count_parameters(adapted))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (folder / "model.safetensors").unlink()  # a gigabyte
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "True (247577856, 247577856) (3538944, 251116800)"
    assert KNOWN_MODELS["google/flan-t5-base"].parameters == 247_577_856
    lora = adapter_of(train_recipe(adapter="lora", lora_r=32, lora_target_modules=["q", "v"]), None)
    assert lora.parameters(KNOWN_MODELS["google/flan-t5-base"].layer_sizes) == 3_538_944
