"""Measures how time and memory grow with the number of dialogues: reading, tokenizing, training and predicting.

    .venv/bin/python benchmarks/scaling.py [--sizes 1000 10000 100000] [--out benchmarks/results/scaling.json]

The dialogues are those of `summtune.data.builtin.stream`; each stage of each size is a separate process, the model is
`builtin/flan-t5-nano`. *command* is what `summtune run` does before it starts workers: reading and checking equal
numbers of test and training dialogues, and looking for leakage between them. *tokenize* and *tokenize again* are the
same call with an empty and a filled cache. *train* is one epoch, and *predict* summarizes the same number of dialogues;
both tokenize, as a first start does, and load the model. The seconds exclude imports. Memory is the peak resident
memory of the process; *kept* is its memory at the end, including mapped files, which can be dropped at any time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STAGES = ("command", "tokenize", "tokenize again", "train", "predict")
KEYS: dict[str, Any] = {
    "kind": "train",
    "base_model": "builtin/flan-t5-nano",
    "learning_rate": 1e-3,
    "num_epochs": 1,
    "sequence_len": 64,
    "target_len": 64,
    "micro_batch_size": 64,
    "logging_steps": 1,
    "bf16": False,
    "generation": {"max_new_tokens": 8, "batch_size": 64},
    "evaluation": {"metrics": ["rouge1"]},
}


def write_inputs(folder: Path, size: int) -> None:
    """Write the dialogues and the recipe of a size."""
    from summtune.data.builtin import stream

    for seed, name in enumerate(("train", "test")):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for one in itertools.islice(stream(seed), size):
                row = {"id": one.id, "dialogue": one.dialogue, "summary": one.references[0]}
                file.write(json.dumps(row) + "\n")
    sources = {key: [{"path": str(folder / f"{name}.jsonl"), "id_field": "id"}] for key, name in ROLES.items()}
    (folder / "scaling.yaml").write_text(json.dumps(KEYS | sources))


ROLES = {"datasets": "train", "test_datasets": "test"}


def command(folder: Path) -> float:
    """Prepare the run directory as the command does; return the seconds."""
    from summtune.base.files import write_json
    from summtune.plan.draft import TrainDraft, begin
    from summtune.plan.models import model_of
    from summtune.plan.preparation import prepare_data
    from summtune.plan.resolve import resolve

    started = time.perf_counter()
    draft = resolve(folder / "scaling.yaml")
    assert isinstance(draft, TrainDraft)
    assert draft.model_folder is not None
    run_dir = folder / "run"
    data = prepare_data(draft.recipe, run_dir, lambda _: None)
    plan = begin(draft, model_of(draft.recipe, draft.model_folder, None, draft.content_sha256), data)
    (run_dir / "logs").mkdir()
    write_json(run_dir / "plan.json", plan.to_json())
    return time.perf_counter() - started


def tokenize(folder: Path) -> float:
    """Get the tokens of the training dialogues; return the seconds."""
    from summtune.plan.plan import TrainPlan, read_run_plan
    from summtune.runs.events import Events
    from summtune.runs.run_directory import DATA_FILES, TOKENS
    from summtune.work.models.loading import load_tokenizer
    from summtune.work.tokens.planned import encoder_of
    from summtune.work.tokens.tokens import tokens_of

    run_dir = folder / "run"
    plan = read_run_plan(run_dir)
    assert isinstance(plan, TrainPlan)
    tokenizer = load_tokenizer(Path(plan.model.folder))
    started = time.perf_counter()
    encoder = encoder_of(plan, tokenizer)
    events = Events(run_dir, "train", 0)
    tokens_of(run_dir / DATA_FILES["train"], encoder, (tokenizer.eos_token_id,), run_dir / TOKENS, events)
    return time.perf_counter() - started


def train(folder: Path) -> float:
    """Train one epoch; return the seconds of the stage."""
    from summtune.plan.plan import TrainPlan, read_run_plan
    from summtune.runs.events import Events
    from summtune.work.process.stopping import StopRequest
    from summtune.work.training import loop

    run_dir = folder / "run"
    started = time.perf_counter()
    plan = read_run_plan(run_dir)
    assert isinstance(plan, TrainPlan)
    loop.train(plan, run_dir, Events(run_dir, "train", 0), StopRequest())
    return time.perf_counter() - started


def predict(folder: Path) -> float:
    """Summarize the test dialogues with the trained model; return the seconds of the stage."""
    from summtune.plan.plan import read_local_plan
    from summtune.runs.events import Events
    from summtune.work.generation import prediction

    run_dir = folder / "run"
    started = time.perf_counter()
    prediction.predict(read_local_plan(run_dir), run_dir, Events(run_dir, "predict", 0))
    return time.perf_counter() - started


def stage_here(name: str, folder: Path) -> None:
    """Run one stage in this process, and print what it took."""
    import resource

    import psutil

    does = {"command": command, "train": train, "predict": predict}.get(name, tokenize)
    seconds = does(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = psutil.Process().memory_info().rss
    print(json.dumps({"seconds": seconds, "peak_bytes": peak * 1024, "kept_bytes": kept}), flush=True)
    os._exit(0)


def measure(size: int, stages: list[str]) -> list[dict[str, Any]]:
    """Return the time and memory of each stage for a number of dialogues."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_inputs(folder, size)
        for stage in stages:
            cache = folder / "cache" / stage.removesuffix(" again")
            done = subprocess.run(
                [sys.executable, __file__, "--stage", stage, str(folder)],
                env=os.environ | {"SUMMTUNE_CACHE": str(cache)},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            per_thousand = 1000 * result["seconds"] / size
            rows.append({"stage": stage, "dialogues": size, "seconds_per_1000": round(per_thousand, 4), **result})
            print(
                f"{stage:<15} {size:>7,} dialogues {per_thousand:>8.3f} s per 1,000   "
                f"peak {result['peak_bytes'] / 2**20:>6.0f} MiB   kept {result['kept_bytes'] / 2**20:>6.0f} MiB",
                flush=True,
            )
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--stage"]:
        stage_here(sys.argv[2], Path(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="command is needed by all")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for size in arguments.sizes:
        rows += measure(size, arguments.stages)
        if arguments.out:  # after each, in case the measurement is interrupted
            versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
            machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
            result = {"machine": machine, "versions": versions, "recipe": KEYS, "stages": rows}
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
