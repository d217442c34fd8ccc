"""Times `summtune run` from the command to the end of the first optimizer step, against a stock Trainer script.

    .venv/bin/python benchmarks/first_step.py [--runs 5] [--out benchmarks/results/first_step.json]

Both sides train builtin/flan-t5-nano on 64 of builtin/dialogues on the CPU, in turn, in new directories. The time is
what a user waits for: Python's start, reading and checking, accelerate, the processes, the libraries, the model, and
the first step. The peer (stock_trainer.py) reads a prepared JSON lines file, checks nothing, and starts the same number
of processes with `accelerate launch` (counted in the process group) and the same DeepSpeed config.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from speed_inputs import SUMMTUNE
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


def wait_for(command: list[Any], folder: Path, seen: Callable[[], bool]) -> float:
    """Start a command that names ``folder``, wait until ``seen()``, and end everything that it started."""
    path = folder.parent / f"{folder.name}.said"
    with path.open("wb") as said:
        words = [str(word) for word in command]
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=said, stderr=said, start_new_session=True)
    limit = time.monotonic() + 300
    try:
        while not seen():
            ended = process.poll() is not None
            assert not ended or seen(), f"it ended before its first step: {path.read_text()[-4000:]}"
            assert time.monotonic() < limit, f"no first step in 300 s: {path.read_text()[-4000:]}"
            time.sleep(0.005)
        return time.time()
    finally:
        end(process, folder)


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Kill a command and all its processes, and wait until they have ended."""
    limit = time.monotonic() + 60
    while left := started_by(process.pid, folder):
        assert time.monotonic() < limit, f"processes outlive a kill: {left}"
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.poll()
        time.sleep(0.05)
    process.wait()


def started_by(pid: int, folder: Path) -> list[psutil.Process]:
    """Return the processes of a command: itself, its descendants, and orphans that name its folder."""
    with contextlib.suppress(psutil.NoSuchProcess):
        command = psutil.Process(pid)
        tree = {command, *command.children(recursive=True)}
        return [one for one in tree | naming(folder) if runs(one)]
    return [one for one in naming(folder) if runs(one)]


def naming(folder: Path) -> set[psutil.Process]:
    return {one for one in psutil.process_iter(["cmdline"]) if str(folder) in (one.info["cmdline"] or [])}


def runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def of_summtune(layout: str, folder: Path) -> dict[str, float]:
    """Return the seconds until the processes were up, the model was loaded and the first step was done."""
    recipe = folder.parent / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    sets = [word for key, value in LAYOUTS[layout].items() for word in ("--set", f"{key}={value}")]
    marks: dict[str, float] = {}
    events = folder / "logs" / "events.jsonl"

    def seen() -> bool:
        text = events.read_text() if events.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():  # the last one may be half written
            event = json.loads(line)
            if event["stage"] == "train":
                begins = event.get("text", "").startswith("training ")
                marks.setdefault("model" if begins else event["event"], time.time())
        return "progress" in marks

    began = time.time()
    wait_for([*SUMMTUNE, "run", recipe, "--output-dir", folder, "--fresh", *sets], folder, seen)
    names = {"started": "processes_up", "model": "model_loaded", "progress": "first_step"}
    return {name: marks[mark] - began for mark, name in names.items()}


def of_stock(layout: str, folder: Path, data: Path, model: Path) -> dict[str, float]:
    """Return the seconds until the end of the stock Trainer's first step."""
    command = [*stock_command(layout, folder), "--model", model, "--data", data, "--micro-batch", 4]
    command += ["--learning-rate", RECIPE["learning_rate"], "--max-steps", RECIPE["max_steps"]]
    began = time.time()
    first = wait_for(command, folder, (folder / "times.json").exists) - began
    stock_times(layout, folder)
    return {"first_step": first}


def stock_command(layout: str, folder: Path) -> list[Any]:
    """Return the command of the stock Trainer, its own options to be added, with a config written for its launcher.

    ``accelerate launch --cpu --num_processes 2`` would silently start a single process, with ``--use_deepspeed``
    too. Two on a CPU need a config that denies it, ``use_cpu`` in the training arguments, and no GPU in sight.
    """
    keys = LAYOUTS[layout]
    processes = keys.get("num_processes", 1)
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO" if processes == 1 else "MULTI_GPU",
        "main_process_port": 0,
        "num_machines": 1,
        "num_processes": processes,
        "use_cpu": processes == 1,
    }
    if "deepspeed" in keys:
        zero2 = json.loads((HERE.parent / keys["deepspeed"]).read_text())
        zero2["zero_optimization"]["reduce_bucket_size"] = 25_000_000  # as summtune sets it up to 250 million weights
        file = folder.parent / "stock_zero2.json"
        file.write_text(json.dumps(zero2))
        config |= {"distributed_type": "DEEPSPEED", "use_cpu": False}
        config |= {"deepspeed_config": {"deepspeed_config_file": str(file), "zero3_init_flag": False}}
    else:
        config["mixed_precision"] = "no"
    path = folder.parent / "stock_accelerate.json"
    path.write_text(json.dumps(config))
    return [BIN / "accelerate", "launch", "--config_file", path, HERE / "stock_trainer.py", "--out", folder]


def stock_times(layout: str, folder: Path) -> list[float]:
    """Return the times after each step of the stock Trainer, which must have run on the layout."""
    seen = json.loads((folder / "times.json").read_text())
    keys = LAYOUTS[layout]
    expected = (keys.get("num_processes", 1), 2 if "deepspeed" in keys else 0)
    got = (seen["world"], seen["zero_stage"])
    assert got == expected, (
        f"{layout}: the peer runs another layout than {expected}: world size, ZeRO stage (got {got})"
    )
    times: list[float] = seen["times"]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from summtune.base.places import model_folder
    from summtune.data.builtin import dialogues

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
    main()
