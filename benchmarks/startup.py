"""Times the response of the command line against other command lines of the field, in turn in one run.

    .venv/bin/python benchmarks/startup.py [--runs 7] [--out benchmarks/results/startup.json]

Every program is a whole process with its output thrown away. Peers that are not installed are left out: `pip install
trl` adds TRL.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
RECIPE = Path(__file__).parent.parent / "recipes" / "lora.yaml"
PROGRAMS = {
    "summtune --help": [str(BIN / "summtune"), "--help"],
    "summtune validate recipes/lora.yaml": [str(BIN / "summtune"), "validate", str(RECIPE)],
    "import summtune": [sys.executable, "-c", "import summtune"],
    "import typer": [sys.executable, "-c", "import typer"],
    "accelerate launch --help": [str(BIN / "accelerate"), "launch", "--help"],
    "trl --help": [str(BIN / "trl"), "--help"],
    "trl sft --help": [str(BIN / "trl"), "sft", "--help"],
}
PACKAGES = ("torch", "summtune", "accelerate", "trl", "transformers", "typer", "pydantic")


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    programs = {name: command for name, command in PROGRAMS.items() if Path(command[0]).exists()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for command in programs.values():
        seconds_of(command)  # fills the disk cache
    for _ in range(arguments.runs):
        for name, command in programs.items():
            times[name].append(seconds_of(command))
    own = statistics.median(times["summtune --help"])
    rows = {
        name: {
            "median_seconds": round(statistics.median(seconds), 3),
            "min_seconds": round(min(seconds), 3),
            "max_seconds": round(max(seconds), 3),
            "ratio_to_summtune_help": round(statistics.median(seconds) / own, 1),
        }
        for name, seconds in times.items()
    }
    for name, row in rows.items():
        print(f"{name:<38} {row['median_seconds']:>7.3f} s   {row['ratio_to_summtune_help']:>5.1f} ×")
    if arguments.out:
        machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
        result = {"machine": machine, "versions": versions(), "runs": arguments.runs, "programs": rows}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
