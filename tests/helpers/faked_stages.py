"""Writes the outputs of worker stages directly, and a display that records events."""

from made_up_results import prediction_stats, training

from summtune.base.files import read_jsonl, write_json, write_jsonl
from summtune.plan.plan import read_plan
from summtune.runs.records import Prediction


class RecordingDisplay:
    """A display that records events."""

    def __init__(self):
        self.stages = []
        self.warnings = []
        self.done = []
        self.show_themselves = []

    def stage(self, name, text, *, shows_itself=False):
        self.stages.append((name, text))
        if shows_itself:
            self.show_themselves.append(name)

    def systems(self, done, total):
        self.done.append((done, total))

    def warn(self, text):
        self.warnings.append(text)

    def listener(self, event):
        raise AssertionError("no worker runs in these tests")


def write_training(run_dir):
    (run_dir / "model").mkdir(exist_ok=True)
    (run_dir / "model" / "model.safetensors").write_bytes(b"x")
    write_jsonl(run_dir / "train_log.jsonl", [{"step": 1, "epoch": 1.0, "loss": 2.0}])
    done = training(trainable_parameters=5, total_parameters=10, steps=1, epochs=1.0, best_step=1)
    write_json(run_dir / "training.json", done.to_json())


def write_predictions(run_dir):
    name = read_plan(run_dir).name
    predictions = [
        Prediction(row["id"], row["dialogue"], f"{name} is free.", tuple(row["references"]), 9, 4, False, False)
        for row in read_jsonl(run_dir / "data" / "test.jsonl")
    ]
    write_jsonl(run_dir / "predictions.jsonl", [prediction.to_json() for prediction in predictions])
    stats = prediction_stats(
        total_parameters=10,
        dialogues=len(predictions),
        unique_prompts=len(predictions),
        prompt_tokens=9 * len(predictions),
        generated_tokens=4 * len(predictions),
        processes=1,
        seconds=1.0,
        device_seconds=1.0,
        peak_memory_bytes=2**20,
    )
    write_json(run_dir / "prediction_stats.json", stats.to_json())


STAGES = {"train": write_training, "predict": write_predictions}
