"""Kills trainings again and again, at random moments, and checks that they come to the very end of one left alone.

    python benchmarks/soak.py --kills 20 --seed 0 --out benchmarks/results/soak.json

Each mode trains once undisturbed, and once with its share of the kills: SIGKILL to one rank, to all processes, or to
the command alone; while it trains, and in the middle of a save. After each kill the same command is given again. At the
end losses, gradient norms and weights must be bitwise the same (fp32 on a CPU).
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

STEPS = 24
MODES = {
    "one process": {},
    "two processes": {"num_processes": 2, "micro_batch_size": 4},
    "ZeRO-2": {"num_processes": 2, "micro_batch_size": 4, "deepspeed": "ds_configs/zero2.json"},
    "ZeRO-3": {"num_processes": 2, "micro_batch_size": 4, "deepspeed": "ds_configs/zero3.json"},
    "LoRA": {"adapter": "lora", "lora_r": 8},
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
    return subprocess.Popen(
        ["summtune", "run", recipe, "--output-dir", run_dir, *sets],
        stdout=subprocess.DEVNULL,
        stderr=(run_dir.parent / f"{run_dir.name}.said").open("ab"),
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def processes(run_dir: Path, word: bytes = b"") -> list[int]:
    """Return the processes that name the run directory, those with ``word`` before it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(run_dir).encode() in arguments and (not word or arguments[1:4].count(word)):
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
    """Start the run, kill of it what the dice say, and return what happened; None when it was over before."""
    victim = rng.choice(["one rank", "all", "the command"])
    moment = rng.choice(["while it trains", "in a save"])
    target = min(steps_saved(run_dir) + rng.randint(1, 4), STEPS - 1)
    late = rng.uniform(0, 0.2)
    command = start(recipe, run_dir, mode)
    while steps_saved(run_dir) < target or (moment == "in a save" and not in_a_save(run_dir)):
        if command.poll() is not None:
            assert command.returncode == 0, f"{mode}: the run failed by itself, see {run_dir}"
            return None
        time.sleep(0.001)
    if moment == "while it trains":
        time.sleep(late)
    workers = processes(run_dir, b"summtune.worker") or processes(run_dir)
    saved, saving = steps_saved(run_dir), in_a_save(run_dir)
    kill(
        {"one rank": [rng.choice(workers)], "the command": [command.pid]}.get(
            victim, [command.pid, *processes(run_dir)]
        )
    )
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
    }


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
    for number, mode in enumerate(chosen.modes):
        alone, struck = folder / f"{number}-alone", folder / f"{number}-struck"
        assert start(recipe, alone, mode).wait() == 0, f"{mode}: failed undisturbed, see {alone}"
        left = chosen.kills // len(chosen.modes) + (number < chosen.kills % len(chosen.modes))
        while left:
            one = strike(recipe, struck, mode, rng)
            if one is None:  # too fast for the dice: again from the beginning
                shutil.rmtree(struck)
                continue
            left -= 1
            kills.append(one)
            print(json.dumps(one), flush=True)
        assert start(recipe, struck, mode).wait() == 0, f"{mode}: failed after its kills, see {struck}"
        same[mode] = outcome(alone) == outcome(struck)
        print(f"{mode}: {'bitwise the same' if same[mode] else 'ANOTHER END'}", flush=True)
    result = {
        "seed": chosen.seed,
        "steps": STEPS,
        "kills": kills,
        "bitwise_the_same": same,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    if all(same.values()):
        shutil.rmtree(folder)
    sys.exit(0 if all(same.values()) else 1)


if __name__ == "__main__":
    main()
