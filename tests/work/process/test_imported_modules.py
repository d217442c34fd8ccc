"""The modules that a start imports are counted, because times differ between machines."""

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress

import pytest

from summtune.commands import pipeline
from summtune.launchers import local
from summtune.plan.resolve import resolve

NANO = {
    "base_model": "builtin/flan-t5-nano",
    "test_datasets": [{"path": "builtin/dialogues", "split": "test", "limit": 2}],
    "bf16": False,
    "num_processes": 1,
}
TRAIN = NANO | {
    "kind": "train",
    "datasets": [{"path": "builtin/dialogues", "limit": 8}],
    "learning_rate": 1e-3,
    "micro_batch_size": 4,
    "max_steps": 2,
}
PROMPT = NANO | {"kind": "prompt"}

# The worker that the launcher becomes shows its first step or batch: then its modules are written down. What it leaves
# out is None among them.
UNTIL_THE_FIRST_PROGRESS = """
import json, os, sys
from pathlib import Path
from summtune.runs.events import Events
listing = Path(sys.argv.pop(1))
def write_down(*_):
    listing.write_text(json.dumps(sorted(name for name in sys.modules if sys.modules[name])))
    os._exit(0)
Events.progress = write_down
from summtune.work.process import launch
sys.exit(launch.main(sys.argv[1:]))
"""
UNTIL_THE_WORKERS_HAVE_ENDED = """
import json, sys
from pathlib import Path
listing = Path(sys.argv.pop(1))
from summtune.work.process import launch
code = launch.main(sys.argv[1:])
listing.write_text(json.dumps(sorted(name for name in sys.modules if sys.modules[name])))
sys.exit(code)
"""

# Packages with more than a dozen modules, so that a failure can say which of them has grown, or is new.
USUAL = {
    "torch": 1160, "deepspeed": 425, "sympy": 419, "scipy": 321, "pandas": 294, "peft": 231, "transformers": 197,
    "numpy": 144, "datasets": 126, "huggingface_hub": 54, "accelerate": 52, "mpmath": 51, "pydantic": 42,
    "summtune": 36, "pyarrow": 34, "asyncio": 29, "httpcore2": 27, "httpx2": 25, "jinja2": 22, "importlib": 22,
    "fsspec": 20, "yaml": 18, "rich": 40, "PIL": 16, "tokenizers": 15, "email": 15, "dateutil": 15, "anyio": 15,
    "tqdm": 14, "multiprocessing": 12, "dill": 12,
}  # fmt: skip
NEVER = {
    "bert_score", "evaluate", "matplotlib", "mlflow", "nltk", "pytest", "rouge_score", "sentencex", "sklearn",
    "tensorboard", "tensorflow", "typer", "wandb", "torch._inductor.compile_fx",
}  # fmt: skip


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Write a run directory as the command does, up to where it starts processes; return it with the launch."""

    class Quiet:
        listener = staticmethod(print)

        def __getattr__(self, name):
            return lambda *_, **__: None

    class StartedError(Exception):
        pass

    def prepare(recipe):
        launches = []

        def run_processes(launch, *_):
            launches.append(launch)
            raise StartedError

        monkeypatch.setattr(pipeline, "run_processes", run_processes)
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        with suppress(StartedError):
            pipeline.run(resolve(tmp_path / "recipe.yaml", [], tmp_path / "run"), Quiet())
        return tmp_path / "run", launches[0]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return prepare


def imported(program, arguments, tmp_path, environment):
    listing = tmp_path / "modules.json"
    command = [sys.executable, "-c", program, listing, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert listing.exists(), f"it ended with {done.returncode} before it imported all: {done.stdout}{done.stderr}"
    return set(json.loads(listing.read_text()))


def check(modules, most, absent):
    newcomers = sorted(absent & modules)
    assert not newcomers, f"imported, and not needed: {newcomers}; `python -X importtime` shows by whom"
    counts = Counter(name.partition(".")[0] for name in modules)
    grown = {package: count for package, count in counts.most_common() if count > 1.1 * USUAL.get(package, 10)}
    assert len(modules) < most, f"{len(modules)} modules instead of fewer than {most}; more than usual of {grown}"


@pytest.mark.parametrize(
    ("recipe", "stage", "most", "absent"),
    [
        (TRAIN, "train", 4500, set()),
        (PROMPT, "predict", 3200, {"datasets", "deepspeed", "pandas", "peft", "transformers.trainer"}),
    ],
    ids=["train", "predict"],
)
def test_a_worker_imports_only_what_its_stage_needs(prepared, tmp_path, recipe, stage, most, absent):
    run_dir, launch = prepared(recipe)
    arguments = local.command(launch, run_dir, [stage])[3:]
    modules = imported(UNTIL_THE_FIRST_PROGRESS, arguments, tmp_path, local.environment(launch))
    assert {"summtune.work.models.loading", "transformers.models.t5.modeling_t5"} <= modules
    check(modules, most, NEVER | absent)


def test_the_launcher_of_several_workers_imports_little_besides_torch(prepared, tmp_path):
    run_dir, launch = prepared(TRAIN | {"num_processes": 2})
    assert launch.distribution == "data_parallel"
    worker = tmp_path / "worker.py"
    worker.write_text("import os\nos.environ['RANK']\n")
    arguments = ["--config_file", str(run_dir / launch.config_file), str(worker)]
    modules = imported(UNTIL_THE_WORKERS_HAVE_ENDED, arguments, tmp_path, os.environ | local.environment(launch))
    assert {"accelerate.commands.launch", "torch.distributed.run"} <= modules
    absent = {"datasets", "deepspeed", "pandas", "peft", "scipy", "summtune.work.models.loading", "transformers"}
    check(modules, 1400, NEVER | absent)
