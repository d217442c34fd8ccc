"""Kills trainings repeatedly, at random moments, and checks that they end exactly like an undisturbed one.

    python benchmarks/soak.py --kills 20 --seed 0 --out benchmarks/results/soak.json

Each mode trains once undisturbed, and once with its share of the kills: SIGKILL to one rank, to all processes, or only
to the command; while it trains, or in the middle of a save. After each kill the same command is given again. At the end
losses, gradient norms and weights must be bitwise the same (fp32 on a CPU). A run that ends before it has had its share
of kills is compared as well, and another run takes the rest. The result is written after each kill; ``same_end`` is
null for kills whose run has not ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = 24
MODES: dict[str, dict[str, Any]] = {
    "one process": {},
    "two processes": {"num_processes": 2, "micro_batch_size": 4},
    "ZeRO-2": {"num_processes": 2, "micro_batch_size": 4, "deepspeed": "ds_configs/zero2.json"},
    "ZeRO-3": {"num_processes": 2, "micro_batch_size": 4, "deepspeed": "ds_configs/zero3.json"},
    "LoRA": {"adapter": "lora", "lora_r": 8},
    "every third step logged": {"logging_steps": 3},
}
RECIPE = {
    "kind": "train",
    "base_model": "builtin/flan-t5-nano",
    "datasets": [{"path": "builtin/dialogues", "limit": 40}],
    "test_datasets": [{"path": "builtin/dialogues", "split": "test", "limit": 2}],
    "learning_rate": 1e-3,
    "micro_batch_size": 8,
    "max_steps": STEPS,
    "save_steps": 1,
    "save_total_limit": 2,
    "logging_steps": 1,
    "bf16": False,
    "evaluation": {"bootstrap_samples": 100},
    "generation": {"max_new_tokens": 4},
}


def start(recipe: Path, run_dir: Path, mode: str) -> subprocess.Popen[bytes]:
    sets = [word for key, value in MODES[mode].items() for word in ("--set", f"{key}={value}")]
    fresh = [] if (run_dir / "plan.json").exists() else ["--fresh"]  # reuses nothing of the undisturbed run
    return subprocess.Popen(
        [Path(sys.executable).parent / "summtune", "run", recipe, "--output-dir", run_dir, *sets, *fresh],
        stdout=subprocess.DEVNULL,
        stderr=(run_dir.parent / f"{run_dir.name}.said").open("ab"),
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def processes(run_dir: Path, workers: bool = False) -> list[int]:
    """Return the processes that name the run directory, or the workers among them; a single one is its launcher."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(run_dir).encode() not in arguments:
            continue
        single = (
            b"summtune.work.process.launch" in arguments
            and b"distributed_type: 'NO'" in Path(arguments[4].decode()).read_bytes()
        )
        if not workers or single or b"summtune.worker" in arguments[1:4]:
            found.append(int(path.parent.name))
    return found


def steps_saved(run_dir: Path) -> int:
    manifests = (run_dir / "checkpoints").glob("checkpoint-*/manifest.json")
    return max((int(path.parent.name.split("-")[1]) for path in manifests), default=0)


def in_a_save(run_dir: Path) -> bool:
    folders = (run_dir / "checkpoints").glob("checkpoint-*")
    return any(not (folder / "manifest.json").exists() for folder in folders)


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def strike(recipe: Path, run_dir: Path, mode: str, rng: random.Random) -> dict[str, object] | None:
    """Start the run, kill random processes of it, and return what happened; None if it ended before."""
    victim = rng.choice(["one rank", "all", "the command"])
    moment = rng.choice(["while it trains", "in a save"])
    target = steps_saved(run_dir) + rng.randint(1, 4)
    late = rng.uniform(0, 0.2)
    command = start(recipe, run_dir, mode)
    while steps_saved(run_dir) < target or (moment == "in a save" and not in_a_save(run_dir)):
        if command.poll() is not None:
            ended_by_itself(command, run_dir, mode)
            return None
        time.sleep(0.001)
    if moment == "while it trains":
        time.sleep(late)
    workers = processes(run_dir, workers=True)
    if not workers or command.poll() is not None:  # it has finished training and is about to end
        ended_by_itself(command, run_dir, mode)
        return None
    saved = steps_saved(run_dir)
    if victim == "one rank":
        kill([rng.choice(workers)])
    else:
        kill([command.pid] if victim == "the command" else [command.pid, *processes(run_dir)])
    saving = in_a_save(run_dir)
    began = time.monotonic()
    command.wait(120)
    while processes(run_dir):
        assert time.monotonic() - began < 120, f"{mode}: processes outlive a kill: {processes(run_dir)}"
        time.sleep(0.05)
    return {
        "mode": mode,
        "victim": victim,
        "moment": "in a save" if saving else "while it trains",
        "after_step": saved,
        "seconds_until_all_ended": round(time.monotonic() - began, 2),
        "same_end": None,
    }


def ended_by_itself(command: subprocess.Popen[bytes], run_dir: Path, mode: str) -> None:
    """Wait for the end of a run that was not killed."""
    assert command.wait(300) == 0, f"{mode}: the run failed by itself, see {run_dir}"


def outcome(run_dir: Path) -> tuple[list[tuple[object, ...]], bytes]:
    rows = [json.loads(line) for line in (run_dir / "train_log.jsonl").read_text().splitlines()]
    (weights,) = (run_dir / "model").glob("*.safetensors")
    return [(row["step"], row["loss"], row["grad_norm"]) for row in rows], weights.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(RECIPE))
    kills: list[dict[str, object]] = []
    same: dict[str, bool] = {}
    began = time.monotonic()

    def write() -> None:
        result = {
            "seed": chosen.seed,
            "steps": STEPS,
            "kills": kills,
            "bitwise_the_same": same,
            "minutes": round((time.monotonic() - began) / 60, 1),
        }
        if chosen.out:
            chosen.out.write_text(json.dumps(result, indent=1) + "\n")

    for number, mode in enumerate(chosen.modes):
        alone = folder / f"{number}-alone"
        assert start(recipe, alone, mode).wait() == 0, f"{mode}: failed undisturbed, see {alone}"
        left = chosen.kills // len(chosen.modes) + (number < chosen.kills % len(chosen.modes))
        runs = 0
        while left:
            runs += 1
            struck = folder / f"{number}-struck-{runs}"
            here: list[dict[str, object]] = []
            while len(here) < left and (one := strike(recipe, struck, mode, rng)) is not None:
                here.append(one)
                kills.append(one)
                print(json.dumps(one), flush=True)
                write()
            left -= len(here)
            assert start(recipe, struck, mode).wait() == 0, f"{mode}: failed after its kills, see {struck}"
            is_same = outcome(alone) == outcome(struck)
            same[mode] = same.get(mode, True) and is_same
            for one in here:
                one["same_end"] = is_same
            write()
            print(f"{mode}: {'bitwise the same' if is_same else 'ANOTHER END'}", flush=True)
    if all(same.values()):
        shutil.rmtree(folder)
    sys.exit(0 if all(same.values()) else 1)


if __name__ == "__main__":
    main()
