"""SmolLM2-135M-Instruct, with its real weights, through the command."""

import json
import subprocess

import pytest
from installed_command import command_path

pytestmark = [pytest.mark.slow, pytest.mark.real]
QUESTIONS = [
    "What is the capital of France?",
    "Anna: Shall we meet at noon, or is it too early for you?\nBen: Noon is fine.\nWhen do they meet?",
    "Say hello.",
]


def run(folder, recipe, *options):
    folder.mkdir()
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    command = [command_path(), "run", "recipe.yaml", "--output-dir", "run", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def texts(run_dir):
    return [json.loads(line)["prediction"] for line in (run_dir / "predictions.jsonl").read_text().splitlines()]


def test_it_answers_regardless_of_the_batch(smollm2, tmp_path):
    rows = [{"dialogue": question, "summary": "An answer."} for question in QUESTIONS]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "kind": "prompt",
        "base_model": str(smollm2),
        "test_datasets": [{"path": str(tmp_path / "test.jsonl")}],
        "prompt_template": "plain",
        "bf16": False,
    }
    of_batch = {
        size: texts(
            run(tmp_path / str(size), recipe | {"generation": {"max_new_tokens": 30, "batch_size": size}}, "--fresh")
        )
        for size in (1, 3)
    }
    assert "Paris" in of_batch[1][0]
    assert of_batch[1] == of_batch[3]


def test_a_short_training_lowers_the_loss_of_held_out_dialogues(smollm2, tmp_path):
    recipe = {
        "kind": "train",
        "base_model": str(smollm2),
        "datasets": [{"path": "builtin/dialogues", "limit": 40}],
        "test_datasets": [{"path": "builtin/dialogues", "limit": 2}],
        "val_set_size": 8,
        "adapter": "lora",
        "lora_r": 8,
        "learning_rate": 1e-3,
        "micro_batch_size": 4,
        "max_steps": 16,
        "eval_steps": 8,
        "generation": {"max_new_tokens": 20},
    }
    run_dir = run(tmp_path / "lora", recipe)
    rows = [json.loads(line) for line in (run_dir / "train_log.jsonl").read_text().splitlines()]
    first, last = [row["eval_loss"] for row in rows if "eval_loss" in row]
    assert last < first < 2
    supervision = json.loads((run_dir / "supervision.json").read_text())
    assert [end["text"] for end in supervision["ends"]] == ["<|im_end|>"]
