import pytest
from made_up_summaries import REFERENCES

from summtune.evaluator.comparison import read_system
from summtune.evaluator.evaluation import evaluate, write_evaluation
from summtune.files import write_json
from summtune.recipe import EvaluationSettings
from summtune.records import Prediction


@pytest.fixture
def finished(tmp_path):
    """Write the files of a finished run, and return it as a system."""

    def write(name, texts, *, kind="prompt", written=REFERENCES, seed=7, ids=None, **settings):
        folder = tmp_path / name
        ids = ids or [str(i) for i in range(len(texts))]
        rows = [
            Prediction(id_, "A: Hi.", text, (reference,), 9, 8, False, False)
            for id_, text, reference in zip(ids, texts, written, strict=True)
        ]
        write_evaluation(folder, evaluate(rows, EvaluationSettings(**({"bootstrap_samples": 300} | settings)), seed))
        write_json(folder / "plan.json", {"name": name, "kind": kind})
        trained = 10 if kind == "train" else 0
        write_json(folder / "prediction_stats.json", {"trainable_parameters": trained, "total_parameters": 1000})
        return read_system(name, folder)

    return write
