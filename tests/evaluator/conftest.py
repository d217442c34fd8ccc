import pytest
from made_up_results import prediction_stats, training
from made_up_summaries import REFERENCES

from summtune.base.files import write_json, write_jsonl
from summtune.evaluator.evaluation import evaluate, write_evaluation
from summtune.evaluator.systems import read_system
from summtune.recipe.sections import EvaluationSettings
from summtune.runs.records import Prediction


@pytest.fixture
def finished(tmp_path):
    """Write the files of a finished run, and return it as a system."""

    def write(name, texts, *, kind="prompt", written=REFERENCES, ids=None, dialogue="A: Hi.", **settings):
        folder = tmp_path / name
        ids = ids or [str(i) for i in range(len(texts))]
        written = [(each,) if isinstance(each, str) else each for each in written]
        rows = [
            Prediction(id_, dialogue, text, references, 9, 8, False, False)
            for id_, text, references in zip(ids, texts, written, strict=True)
        ]
        write_evaluation(folder, evaluate(rows, EvaluationSettings(**({"bootstrap_samples": 300} | settings))))
        write_jsonl(folder / "predictions.jsonl", (row.to_json() for row in rows))
        write_json(folder / "plan.json", {"format": 2, "name": name, "kind": kind, "recipe": {}})
        trained = 10 if kind == "train" else 0
        write_json(folder / "prediction_stats.json", prediction_stats(trainable_parameters=trained).to_json())
        if kind == "train":
            write_json(folder / "training.json", training(device_seconds=7200.0, processes=4).to_json())
            (folder / "model").mkdir()
            (folder / "model" / "adapter_model.safetensors").write_bytes(bytes(1000))
        return read_system(name, folder)

    return write
