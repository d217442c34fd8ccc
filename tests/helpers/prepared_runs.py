"""Run directories as workers find them."""

import json

from made_up_recipes import begun_plan
from tiny_inputs import dialogues, write_rows

from summtune.base.files import read_jsonl, write_json
from summtune.runs.events import Events, events_file


class PreparedRun:
    """A run directory as a worker finds it, and what its stages said."""

    def __init__(self, plan, folder):
        self.plan = plan
        self.folder = folder

    def events(self, stage="train"):
        return Events(self.folder, stage, 0)

    @property
    def said(self):
        path = events_file(self.folder)
        return [event for event in read_jsonl(path) if "text" in event] if path.exists() else []

    def texts(self, kind):
        return [event["text"] for event in self.said if event["event"] == kind]

    @property
    def log(self):
        return list(read_jsonl(self.folder / "train_log.jsonl"))

    @property
    def losses(self):
        return [row["loss"] for row in self.log if "loss" in row]

    @property
    def training(self):
        return json.loads((self.folder / "training.json").read_text())


def prepared_run(folder, checkpoint, name="run", train=13, test=3, rows=None, **keys):
    """Write the run directory of a recipe below ``folder``, as the command does before it starts a worker."""
    training_rows = write_rows(folder / f"{name}.train.jsonl", rows or dialogues(train))
    test_rows = write_rows(folder / f"{name}.test.jsonl", dialogues(test, seed=1))
    recipe = {
        "kind": "train",
        "base_model": str(checkpoint),
        "datasets": [{"path": str(training_rows), "id_field": "id"}],
        "test_datasets": [{"path": str(test_rows), "id_field": "id"}],
        "learning_rate": 0.01,
        "num_epochs": 2,
        "logging_steps": 1,
        "bf16": False,
        "generation": {"max_new_tokens": 6},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({key: value for key, value in (recipe | keys).items() if value is not None}))
    run_dir = folder / name
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    plan = begun_plan(path, into=run_dir)
    write_json(run_dir / "plan.json", plan.to_json())
    return PreparedRun(plan, run_dir)
