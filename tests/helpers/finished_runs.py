"""Fixtures that write finished runs, and their comparison."""

import math

import pytest
from made_up_diagnostics import put_diagnostics
from made_up_results import prediction_stats, training

from summtune.base.files import write_json, write_jsonl
from summtune.evaluator.comparison import compare
from summtune.evaluator.evaluation import evaluate, write_evaluation
from summtune.evaluator.systems import read_system
from summtune.recipe.sections import EvaluationSettings
from summtune.runs.records import Prediction
from summtune.runs.run_plan import FORMAT
from summtune.runs.stopping import Stopping

DIALOGUE = "#Person1#: Shall we meet on {day}?\n#Person2#: Fine, at noon then."
PROMPTED = {"kind": "prompt", "base_model": "google/flan-t5-base", "prompt_template": "Summarize.\n{dialogue}"}
TRAINED = PROMPTED | {"kind": "train", "adapter": "lora", "datasets": [{"path": "owner/talks", "split": "train"}]}
TRAINED |= {"sequence_len": 512, "generation": {"do_sample": False}}


def write_training(folder):
    losses = [{"step": step, "epoch": step / 50, "loss": 1 + math.exp(-step / 20)} for step in range(10, 101, 10)]
    write_jsonl(
        folder / "train_log.jsonl",
        [*losses, {"step": 50, "epoch": 1.0, "eval_loss": 1.2}, {"step": 100, "epoch": 2.0, "eval_loss": 1.1}],
    )
    done = training(trainable_parameters=3_538_944, total_parameters=251_116_800, precision="bf16")
    write_json(folder / "training.json", done.model_copy(update={"peak_memory_bytes": 1610612736}).to_json())
    (folder / "model").mkdir()
    (folder / "model" / "adapter_model.safetensors").write_bytes(bytes(2048))


@pytest.fixture
def run_dir(tmp_path):
    """Write a finished run of ``n`` dialogues and return its directory; ``changes`` apply to the first prediction."""

    def write(name="zero_shot", *, kind="prompt", n=6, words=3, metrics=("rouge1", "rouge2", "rougeL"), **changes):
        folder = tmp_path / name
        predictions = []
        for i in range(n):
            fields = {
                "id": f"test_{i}",
                "dialogue": DIALOGUE.format(day=f"day {i}"),
                "prediction": " ".join(f"they meet at noon on day {i}".split()[:words]),
                "references": (f"they meet at noon on day {i}", f"a meeting on day {i}"),
            }
            fields |= changes if i == 0 else {}
            flags = {"prompt_tokens": 20, "new_tokens": 6, "truncated": False, "hit_length_cap": i == 1}
            predictions.append(Prediction(**(flags | fields)))
        settings = EvaluationSettings(metrics=list(metrics), bootstrap_samples=100)
        write_jsonl(folder / "predictions.jsonl", (prediction.to_json() for prediction in predictions))
        write_evaluation(folder, evaluate(predictions, settings))
        put_diagnostics(folder)
        trained = 3_538_944 if kind == "train" else 0
        stats = prediction_stats(
            trainable_parameters=trained,
            total_parameters=251_116_800,
            seconds=61.0,
            exemplars=("ex_7",),
            peak_memory_bytes=805306368,
            **({"stopping": Stopping(role="validation", dialogues=64, ended=63)} if kind == "train" else {}),
        )
        write_json(folder / "prediction_stats.json", stats.to_json())
        plan = {"name": name, "kind": kind, "versions": {"torch": "2.13.0"}, "identity": "3fa9c1d2", "batch": {}}
        plan |= {"format": FORMAT, "model": {"family": "encoder_decoder"}}
        recipe = TRAINED if kind == "train" else PROMPTED
        write_json(folder / "plan.json", plan | {"recipe": recipe, "git_commit": "e1856dc"})
        given = f"# <what a person wrote>\nkind: {kind}\nbase_model: google/flan-t5-base\n"
        (folder / "recipe.yaml").write_text(given, encoding="utf-8")
        if kind == "train":
            write_training(folder)
        return folder

    return write


@pytest.fixture
def compare_dir(tmp_path, run_dir):
    """Write two finished runs and their comparison, and return the comparison's directory."""

    def write(names=("Original", "LoRA"), n=6, **changes):
        prompted = run_dir("zero_shot", n=n, **changes)
        trained = run_dir("lora", kind="train", words=7, n=n, **changes)
        systems = [read_system(names[0], prompted), read_system(names[1], trained)]
        write_json(tmp_path / "compare" / "comparison.json", compare(systems, names[0]).to_json())
        return tmp_path / "compare"

    return write
