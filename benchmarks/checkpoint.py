"""Times a checkpoint of `summtune run` against one of transformers' Trainer, and against a step.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/checkpoint.py [--size base] [--out FILE]

Both sides train the same FLAN-T5 shape (random weights) on the CPU, once with a checkpoint after each step and once
without any; the cost of a checkpoint is the difference between the median steps. The peer is stock_trainer.py, with the
same lengths, batches, optimizer, processes and DeepSpeed config. summtune also checks that all weights are finite
before the save, and reads everything back for the SHA-256 of the manifest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from first_step import ENVIRONMENT, LAYOUTS, stock_command, stock_times
from startup import BIN, versions

# Settings of both sides, under the names that each uses.
SAME = {"micro_batch_size": 1, "sequence_len": 64, "target_len": 16, "learning_rate": 1e-4}
OPTIONS = {"micro_batch_size": "--micro-batch", "sequence_len": "--sequence-len", "target_len": "--target-len"}
OPTIONS |= {"learning_rate": "--learning-rate"}
KEYS = SAME | {"optimizer": "adamw_torch_fused", "bf16": False}  # the peer names that optimizer itself


def steps_of_summtune(layout: str, folder: Path, model: Path, data: Path, steps: int, saves: bool) -> list[float]:
    """Return the seconds of each step but the first, its checkpoint included."""
    recipe = folder.parent / "recipe.json"
    rows = [{"path": str(data)}]
    keys: dict[str, Any] = {
        "kind": "train",
        "base_model": str(model),
        "datasets": rows,
        "test_datasets": [rows[0] | {"limit": 1}],
    }
    keys |= KEYS | {"max_steps": steps, "save_steps": 1 if saves else 1000, "save_total_limit": 2, "logging_steps": 1}
    keys |= {"generation": {"max_new_tokens": 1}, "evaluation": {"bootstrap_samples": 100}} | LAYOUTS[layout]
    recipe.write_text(json.dumps(keys))
    run([BIN / "summtune", "run", recipe, "--output-dir", folder, "--fresh"])
    logged = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    processes = LAYOUTS[layout].get("num_processes", 1)
    # From one line of the log to the next: the checkpoint of a step counts for the step after it.
    return [processes / row["samples_per_second"] for row in logged if "loss" in row][1:]


def steps_of_stock(layout: str, folder: Path, model: Path, data: Path, steps: int, saves: bool) -> list[float]:
    """Return the same of the stock Trainer."""
    given: list[Any] = [word for key, option in OPTIONS.items() for word in (option, SAME[key])]
    given += ["--model", model, "--data", data, "--max-steps", steps, "--save-steps", int(saves)]
    run([*stock_command(layout, folder), *given])
    return [after - before for before, after in pairwise(stock_times(layout, folder))]


def run(command: list[Any]) -> None:
    done = subprocess.run([str(word) for word in command], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base", help="small, base, …: of tools/flan_t5_shaped.py")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    tool = Path(os.environ["SUMMTUNE_TEST_DATA"]) / "tools" / "flan_t5_shaped.py"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, data = folder / "model", folder / "train.jsonl"
        run([sys.executable, tool, "--out", model, "--size", arguments.size])
        text = "#Person1#: Shall we meet at the station tomorrow at noon? #Person2#: I do not know yet. " * 10
        data.write_text(
            "".join(json.dumps({"dialogue": f"{n} {text}", "summary": text[:40]}) + "\n" for n in range(32))
        )
        for layout in arguments.layouts:
            row: dict[str, Any] = {"layout": layout}
            seconds: dict[str, float] = {}
            for name, steps_of in (("summtune", steps_of_summtune), ("stock", steps_of_stock)):
                medians = []
                for saves in (False, True):
                    place = folder / f"{name}-{saves}"
                    medians.append(statistics.median(steps_of(layout, place, model, data, arguments.steps, saves)))
                    shutil.rmtree(place)
                seconds[name] = medians[1] - medians[0]
                row |= {f"{name}_step": round(medians[0], 2), f"{name}_checkpoint": round(seconds[name], 2)}
            row["ratio"] = round(seconds["summtune"] / seconds["stock"], 2)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if arguments.out:
        model_name = f"FLAN-T5-{arguments.size}, random weights"
        result = {"versions": versions(), "model": model_name, "steps": arguments.steps, "seconds": rows}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
