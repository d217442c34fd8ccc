"""Times `summtune run` from the command to the end of the first optimizer step, against a stock Trainer script.

    .venv/bin/python benchmarks/first_step.py [--runs 5] [--out benchmarks/results/first_step.json]

Both sides train builtin/flan-t5-nano on 64 of builtin/dialogues on the CPU, in turn, in new directories. What is timed
is what a person waits for: Python's start, reading and checking, accelerate, the processes, the libraries, the model,
and the first step. The peer (stock_trainer.py) is given a finished JSON lines file, checks nothing, and starts its
processes with `accelerate launch` as well.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from startup import BIN, versions

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one process": {},
    "two processes": {"num_processes": 2},
    "ZeRO-2, two processes": {"num_processes": 2, "deepspeed": "ds_configs/zero2.json"},
}
RECIPE = {
    "kind": "train",
    "base_model": "builtin/flan-t5-nano",
    "datasets": [{"path": "builtin/dialogues", "limit": 64}],
    "test_datasets": [{"path": "builtin/dialogues", "split": "test", "limit": 2}],
    "learning_rate": 1e-3,
    "micro_batch_size": 4,
    "max_steps": 20,
    "save_steps": 1000,
    "logging_steps": 1,
    "bf16": False,
}


def wait_for(process: subprocess.Popen[bytes], seen: Callable[[], bool]) -> float:
    """Return when something was seen; the process group is ended then."""
    try:
        while not seen():
            assert process.poll() is None, "it ended before its first step"
            time.sleep(0.005)
        return time.time()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(2)  # what it has started goes too


def started(command: list[Any], folder: Path) -> subprocess.Popen[bytes]:
    with (folder.parent / f"{folder.name}.said").open("wb") as said:
        return subprocess.Popen(command, env=ENVIRONMENT, stdout=said, stderr=said, start_new_session=True)


def of_summtune(layout: str, folder: Path) -> dict[str, float]:
    """Return the seconds until the processes were up, the model was loaded and the first step was done."""
    recipe = folder.parent / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    sets = [word for key, value in LAYOUTS[layout].items() for word in ("--set", f"{key}={value}")]
    marks: dict[str, float] = {}
    events = folder / "logs" / "events.jsonl"

    def seen() -> bool:
        for line in events.read_text().splitlines() if events.exists() else []:
            event = json.loads(line)
            if event["stage"] == "train":
                text = event.get("text", "").split(" ")[0]
                marks.setdefault("model" if text == "training" else event["event"], time.time())
        return "progress" in marks

    began = time.time()
    wait_for(started([BIN / "summtune", "run", recipe, "--output-dir", folder, *sets], folder), seen)
    names = {"started": "processes_up", "model": "model_loaded", "progress": "first_step"}
    return {name: marks[mark] - began for mark, name in names.items()}


def of_stock(layout: str, folder: Path, data: Path, model: Path) -> dict[str, float]:
    """Return the seconds until the stock Trainer had done its first step."""
    keys = LAYOUTS[layout]
    processes = keys.get("num_processes", 1)
    launch = [BIN / "accelerate", "launch", "--cpu", "--num_processes", processes, "--num_machines", 1]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    given = ["--model", model, "--data", data, "--out", folder, "--micro-batch", 4]
    if "deepspeed" in keys:
        launch += ["--use_deepspeed"]
        given += ["--deepspeed", stock_zero2(folder.parent)]
    began = time.time()
    command = [str(word) for word in [*launch, HERE / "stock_trainer.py", *given]]
    return {"first_step": wait_for(started(command, folder), (folder / "times.json").exists) - began}


def stock_zero2(folder: Path) -> Path:
    """Write the DeepSpeed config of the stock Trainer."""
    path = folder / "stock_zero2.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": "auto"}))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from summtune.dialogue_generator import dialogues
    from summtune.paths import model_folder

    model = model_folder("builtin/flan-t5-nano")
    assert model is not None

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = folder / "train.jsonl"
        pairs = [{"dialogue": row.dialogue, "summary": row.references[0]} for row in islice(dialogues("train"), 64)]
        data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        for layout in arguments.layouts:
            ours: list[dict[str, float]] = []
            theirs: list[dict[str, float]] = []
            for run in range(arguments.runs + 1):  # the first fills the disk cache
                one = of_summtune(layout, folder / f"ours{layout}{run}")
                other = of_stock(layout, folder / f"stock{layout}{run}", data, model)
                if run:
                    ours.append(one)
                    theirs.append(other)
            row: dict[str, Any] = {"layout": layout}
            row |= {f"summtune_{key}": round(statistics.median(one[key] for one in ours), 2) for key in ours[0]}
            row["stock_first_step"] = round(statistics.median(one["first_step"] for one in theirs), 2)
            row["ratio"] = round(row["summtune_first_step"] / row["stock_first_step"], 2)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if arguments.out:
        result = {"versions": versions(), "runs": arguments.runs, "seconds": rows}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
