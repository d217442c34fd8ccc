"""Predict stages against a server on this machine."""

from made_up_results import prediction_stats
from misbehaving_server import MODEL

from summtune.base.files import write_jsonl
from summtune.base.strict import read_model
from summtune.generation.endpoint.requests import ChatRequests
from summtune.generation.endpoint.stage import predict
from summtune.recipe.endpoint import Endpoint
from summtune.recipe.sections import Generation
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import read_predictions
from summtune.runs.statistics import PredictionStats

KEY = "sk-test-0123456789abcdefGHIJKL"


def endpoint(server, **changes):
    """The section of a recipe for a server, or for a URL."""
    url = server if isinstance(server, str) else server.url
    return Endpoint(**({"url": url, "model": MODEL, "concurrency": 4, "timeout": 30.0} | changes))


def messages(text):
    return [{"role": "system", "content": "Summarize."}, {"role": "user", "content": text}]


def run_directory(folder, texts):
    dialogues = [Dialogue(f"d{number}", f"A: {text}", ("Hi.",)) for number, text in enumerate(texts)]
    write_jsonl(folder / "data" / "test.jsonl", (dialogue.to_json() for dialogue in dialogues))
    return folder


class Run:
    """One predict stage of texts against a server.

    Args:
        folder: of the run.
        texts: one a dialogue, the content of its prompt's last message.
    """

    def __init__(self, folder, texts):
        self.folder = run_directory(folder, texts)
        self.texts = texts
        self.said = []
        self.progress = []

    def predict(self, server, key=None, generation=None, **changes):
        """Run the stage, whose waits after faults are short."""
        predict(
            self.folder,
            [messages(text) for text in self.texts],
            ChatRequests(),
            endpoint(server, **changes),
            generation or Generation(),
            seed=42,
            key=key,
            stats=prediction_stats(),
            progress=lambda *numbers: self.progress.append(numbers),
            warn=self.said.append,
            backoff=0.01,
        )
        return self

    @property
    def predictions(self):
        return read_predictions(self.folder / "predictions.jsonl")

    @property
    def stats(self):
        return read_model(PredictionStats, self.folder / "prediction_stats.json")

    @property
    def files(self):
        """The content of every file, by path."""
        return {path: path.read_text() for path in self.folder.rglob("*") if path.is_file()}
