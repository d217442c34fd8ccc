"""The rest of the package works without the folder that makes models faster on CPUs."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import summtune
from summtune.base.files import read_jsonl
from summtune.work import cpu
from summtune.work.generation.prediction import predict
from summtune.work.models.loading import load_model
from summtune.work.models.on_cpu import quicken


def texts_of(run):
    return [row["prediction"] for row in read_jsonl(run.folder / "predictions.jsonl")]


@pytest.mark.parametrize("purpose", ["training", "generation"])
def test_the_folder_gets_the_model_and_its_purpose(purpose, checkpoint, monkeypatch):
    given = []
    monkeypatch.setattr(cpu, "quicken", lambda *arguments: given.append(arguments))
    model = load_model(checkpoint, torch.float32)
    quicken(model, purpose, print)
    assert given == [(model, purpose, print)]


def test_a_package_without_the_folder_trains_and_writes_the_same_texts(trained, prepare, tmp_path):
    keys = {"test": 6, "generation": {"max_new_tokens": 8}}
    whole = trained(name="whole", **keys)
    predict(whole.plan, whole.folder, whole.events("predict"))
    package = tmp_path / "copy" / "summtune"
    shutil.copytree(Path(summtune.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(package / "work" / "cpu")
    run = prepare(name="without", **keys)
    script = f"""
        import runpy, summtune
        assert summtune.__file__.startswith({str(package)!r}), "the installed package still has the folder"
        runpy.run_module("summtune.worker", run_name="__main__", alter_sys=True)
    """
    environment = os.environ | {"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", textwrap.dedent(script), str(run.folder), "train", "predict"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stderr, run.said)
    assert len(set(texts_of(whole))) > 1
    assert texts_of(run) == texts_of(whole)
    assert run.losses == pytest.approx(whole.losses, rel=1e-5)
