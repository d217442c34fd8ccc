"""What the tests of every module share: small data, a model that is all config, and recipes around them."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from installed_command import command_path

from summtune.machine.devices import visible_gpus

pytest_plugins = ["finished_runs"]

T5_CONFIG = {
    "model_type": "t5",
    "vocab_size": 32128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 12,
    "num_decoder_layers": 12,
    "num_heads": 12,
    "relative_attention_num_buckets": 32,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": True,
    "decoder_start_token_id": 0,
}


def pytest_addoption(parser):
    """Let those who have the time ask for all tests, and those who have no GPU try the tests for it."""
    parser.addoption("--slow", action="store_true", help="run the tests that take long, too")
    parser.addoption("--rehearse-gpu", action="store_true", help="run the tests that are marked gpu on the CPU")


def pytest_configure(config):
    """Try more mutants where there is time, and hide GPUs from tests that compare with results of a CPU."""
    if config.getoption("--slow"):
        os.environ.setdefault("SUMMTUNE_TEST_EXAMPLES", "1000")
    if config.getoption("--rehearse-gpu") or not re.search(r"(?<!not )\bgpu\b", config.option.markexpr):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config, items):
    """Leave out what takes long, needs a GPU or needs real data, saying so, unless it can run and is asked for."""
    if "SUMMTUNE_TEST_DATA" not in os.environ:
        for item in items:
            if item.get_closest_marker("real"):
                item.add_marker(pytest.mark.skip(reason="SUMMTUNE_TEST_DATA is unset: no data or models of others"))
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long; --slow runs it (make test-slow)"))
    if not config.getoption("--rehearse-gpu"):
        for_gpus = [item for item in items if item.get_closest_marker("gpu")]
        if for_gpus and not visible_gpus():
            for item in for_gpus:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and runs only with -m gpu"))


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Cache the tokens of tests, and of the processes that tests start, in a separate folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUMMTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def family(request):
    """The family of models of a test; `both_families` marks tests that hold for each."""
    return getattr(request, "param", "encoder_decoder")


@pytest.fixture
def write_rows():
    """Write dialogues as JSON lines: ``rows`` themselves, or so many made-up ones; return the file."""

    def write(path, rows):
        if isinstance(rows, int):
            rows = [
                {
                    "id": f"{path.stem}_{i}",
                    "dialogue": f"#Person1#: Is {path.stem} {i} free?\n#Person2#: Yes.",
                    "summary": f"{path.stem} {i} is free.",
                }
                for i in range(rows)
            ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_model():
    """Write a folder with a T5 config and the header of its weights, FLAN-T5-base's unless changed; return it."""

    def write(folder, tied=False, **changes):
        folder.mkdir(parents=True, exist_ok=True)
        config = T5_CONFIG | changes
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        rows = [config["vocab_size"], config["d_model"]]
        names = ["shared.weight"] if tied else ["shared.weight", "lm_head.weight"]
        names += [f"layer.{layer}.weight" for layer in ("q", "k", "v", "o", "wi_0", "wi_1", "wo")]
        header = {name: {"dtype": "F32", "shape": rows, "data_offsets": [0, 0]} for name in names}
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        return folder

    return write


@pytest.fixture
def project(tmp_path, write_rows, write_model, monkeypatch):
    """The current folder, with a model, twelve training and six test dialogues, and valid recipes of each kind."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model")
    write_rows(tmp_path / "train.jsonl", 12)
    write_rows(tmp_path / "test.jsonl", 6)
    (tmp_path / "prompt.yaml").write_text("kind: prompt\nbase_model: ./model\ntest_datasets: [{path: test.jsonl}]\n")
    (tmp_path / "train.yaml").write_text(
        "kind: train\n"
        "base_model: ./model\n"
        "datasets: [{path: train.jsonl}]\n"
        "test_datasets: [{path: test.jsonl}]\n"
        "learning_rate: 1e-3\n"
        "num_processes: 1\n"
    )
    (tmp_path / "both.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, train.yaml]\n")
    return tmp_path


@pytest.fixture(scope="session")
def test_data():
    """The folder with the data and tokenizers of others, for tests that are marked real."""
    return Path(os.environ["SUMMTUNE_TEST_DATA"])


@pytest.fixture(scope="session")
def smollm2(test_data, tmp_path_factory):
    """SmolLM2-135M-Instruct with its real weights, from a wheel of pip's registry."""
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    tool = test_data / "tools" / "smollm2.py"
    done = subprocess.run([sys.executable, tool, "--out", folder], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"SmolLM2 cannot be made: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture
def summtune(tmp_path):
    """Run the installed command in a new empty folder and return what it did and printed."""

    def run(*arguments, cwd=None, **environment):
        folder = cwd or tmp_path
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [command_path(), *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def everything_in():
    """Return everything in a folder: the content of each file and the name of each folder."""

    def look(folder):
        return {
            path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))
        }

    return look
