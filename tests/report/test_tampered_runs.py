"""Run directories with edited or damaged files are read, or refused with one message."""

import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import call, keeps_its_promise
from mutants import as_json, mutated_bytes, mutated_tree

EXAMPLES = int(os.environ.get("SUMMTUNE_TEST_EXAMPLES", "40"))


@pytest.fixture
def runs(tmp_path, compare_dir):
    """A folder with two finished runs and their comparison, next to their pristine copies in ``kept``."""
    compare_dir()
    (tmp_path / "compare" / "plan.json").write_text(json.dumps({"name": "compare", "kind": "compare", "recipe": {}}))
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("zero_shot", "lora", "compare"):
        shutil.copytree(tmp_path / name, kept / name)
    return tmp_path


@st.composite
def _tampered(draw, path):
    content = path.read_bytes()
    if path.suffix == ".json" and draw(st.integers(0, 2)):
        return as_json(draw(mutated_tree(json.loads(content))))
    if path.suffix == ".jsonl" and draw(st.integers(0, 2)):
        rows = draw(mutated_tree([json.loads(line) for line in content.splitlines()]))
        return b"".join(as_json(row) + b"\n" for row in (rows if isinstance(rows, list) else [rows]))
    return draw(mutated_bytes(content))


@given(st.data())
@settings(
    max_examples=EXAMPLES, derandomize="SUMMTUNE_TEST_EXAMPLES" not in os.environ, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_any_file_of_a_run_is_read_or_refused(runs, monkeypatch, data):
    monkeypatch.chdir(runs)
    for name in ("zero_shot", "lora", "compare"):
        shutil.rmtree(runs / name)
        shutil.copytree(runs / "kept" / name, runs / name)
    run = data.draw(st.sampled_from(["zero_shot", "lora", "compare"]))
    files = sorted(path.name for path in (runs / run).iterdir() if path.suffix in (".json", ".jsonl"))
    path = runs / run / data.draw(st.sampled_from(files))
    path.write_bytes(data.draw(_tampered(path)))
    commands = [
        ("compare", "zero_shot", "lora"),
        ("compare", "zero_shot", "lora", "--json"),
        ("report", run),
        ("report", "compare"),
        ("report", run, "--png", "chart.png"),
        ("evaluate", f"{run}/predictions.jsonl"),
    ]
    keeps_its_promise(call(*data.draw(st.sampled_from(commands))))
