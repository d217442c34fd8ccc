"""A real server, ``transformers serve``: what the model behind it writes is what the same model writes in a worker."""

import contextlib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from real_command import Command, wait_until
from tiny_decoders import write_decoder
from tiny_inputs import dialogues
from transformers.utils.import_utils import is_serve_available

from summtune.base.files import read_json, write_jsonl
from summtune.runs.run_directory import read_predictions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_serve_available(), reason="`transformers serve` needs fastapi and uvicorn (make extras)"),
]

RECIPE = """
kind: prompt
test_datasets: [{{path: ./test.jsonl}}]
prompt_template: summarize
system_prompt: You summarize dialogues.
generation: {{max_new_tokens: 24}}
{model}
"""


@contextlib.contextmanager
def transformers_serve(model, log):
    """Yield the address of a server of one model on the CPU, in fp32."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", model, "--device", "cpu", "--dtype", "float32"]
    with log.open("wb") as written:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=written, stderr=written
        )
    address = f"http://127.0.0.1:{port}"

    def answers():
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            return urllib.request.urlopen(f"{address}/health").status == 200
        return False

    try:
        wait_until(answers, what="a healthy server")
        yield f"{address}/v1"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module", params=["tiny", pytest.param("SmolLM2-135M-Instruct", marks=pytest.mark.real)])
def runs(tmp_path_factory, request):
    """The run directories of the same model in a worker, and behind a server."""
    folder = tmp_path_factory.mktemp("serve")
    model = write_decoder(folder / "model") if request.param == "tiny" else request.getfixturevalue("smollm2")
    write_jsonl(folder / "test.jsonl", dialogues(12))
    found = []
    with transformers_serve(model, folder / "serve.log") as url:
        for name, how in (
            ("local", f"base_model: {model}\nbf16: false"),
            ("served", f"endpoint: {{url: {url}, model: {model}, concurrency: 2}}"),
        ):
            (folder / f"{name}.yaml").write_text(RECIPE.format(model=how))
            code, said = Command(folder / f"{name}.yaml", folder / name).finish()
            assert code == 0, said + (folder / "serve.log").read_text()[-3000:]
            found.append(folder / name)
    return found


def test_greedy_texts_are_the_same_as_those_of_the_local_generator(runs):
    local, served = (read_predictions(run / "predictions.jsonl") for run in runs)
    assert len({one.prediction for one in local}) > 6
    assert [one.prediction for one in served] == [one.prediction for one in local]
    assert [one.prompt_tokens for one in served] == [one.prompt_tokens for one in local]
    assert [one.hit_length_cap for one in served] == [one.hit_length_cap for one in local]


def test_scores_are_the_same_and_the_answers_are_described(runs):
    local, served = (read_json(run / "metrics.json") for run in runs)
    assert served["metrics"] == local["metrics"]
    stats = read_json(runs[1] / "prediction_stats.json")
    assert stats["endpoint"]["requests"] == stats["unique_prompts"] == 12
    assert stats["endpoint"]["without_usage"] == 0
    assert stats["warnings"] == []
