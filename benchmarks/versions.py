"""Compares this checkout with another one of summtune: samples per second of training, and seconds to the first step.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/versions.py --other ../summtune-before [--runs 3] [--out FILE]

The other checkout has its own virtual environment in .venv. Both train FLAN-T5-small's shape on the same dialogues, in
turn, in new directories, and both start a training of builtin/flan-t5-nano. The ratio is that of the medians, ours over
the other's: above 1 is faster for samples per second, below 1 for seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import first_step
import speed_inputs
import speed_training
from startup import versions


def command_of(checkout: Path) -> list[str]:
    return [str(checkout / ".venv" / "bin" / "summtune")]  # with -m, the current folder would come first


def trained(commands: dict[str, list[str]], folder: Path, runs: int, bf16: bool) -> dict[str, Any]:
    """Return the samples per second of each checkout, and the largest difference between their losses."""
    setting = speed_inputs.ON_CPU
    model = speed_inputs.write_model(folder / "model", setting, dropout=0.0)
    data = speed_inputs.write_rows(folder / "train.jsonl", speed_inputs.dialogues(setting.trained))
    steps = 2 * setting.trained // setting.batch
    seen: dict[str, list[float]] = {name: [] for name in commands}
    losses: dict[str, list[float]] = {}
    for turn in range(runs):
        for name, command in commands.items():
            at = folder / f"{name}{turn}"
            result = speed_training.train_summtune(setting, model, data, at, bf16, steps, command)
            seen[name].append(result["samples_per_second"])
            losses[name] = result["losses"]
            print(name, round(seen[name][-1], 3), flush=True)
    ours, other = (losses[name] for name in commands)
    return _compared(seen, 3) | {
        "largest_difference_of_a_loss": max(abs(a - b) for a, b in zip(ours, other, strict=True))
    }


def started(commands: dict[str, list[str]], folder: Path, runs: int, layout: str) -> dict[str, Any]:
    """Return the seconds from the command to the end of the first optimizer step of each checkout."""
    seen: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):  # the first fills the disk cache
        for name, command in commands.items():
            seconds = first_step.of_summtune(layout, folder / f"{name}{layout}{turn}", command)["first_step"]
            if turn:
                seen[name].append(seconds)
                print(layout, name, round(seconds, 2), flush=True)
    return _compared(seen, 2)


def _compared(seen: dict[str, list[float]], digits: int) -> dict[str, Any]:
    ours, other = (statistics.median(values) for values in seen.values())
    return {"all": {name: [round(value, digits) for value in values] for name, values in seen.items()}} | {
        "ratio": round(ours / other, 3)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    commands = {
        "this checkout": command_of(speed_inputs.HERE.parent),
        "the other": command_of(arguments.other.resolve()),
    }
    result: dict[str, Any] = {"versions": versions(), "runs": arguments.runs}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for layout in ("one process", "two processes"):
            result[f"seconds to the first step, {layout}"] = started(commands, folder, arguments.runs, layout)
        for name, bf16 in (("fp32", False), ("bf16", True)):
            at = folder / name
            at.mkdir()
            result[f"samples per second, {name}"] = trained(commands, at, arguments.runs, bf16)
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
