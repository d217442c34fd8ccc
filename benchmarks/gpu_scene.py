"""What the parts of gpu.py share: where they run, and how they train."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import speed_training
from soak import kill, processes
from speed_inputs import SUMMTUNE, Setting, dialogues, write_model, write_rows

ROOT = Path(__file__).parents[1]


class MissingError(Exception):
    """What a part needs is not on this machine."""


@dataclass(frozen=True)
class Scene:
    """Where a part runs.

    Args:
        folder: shared by all parts, for the model and the dialogues.
        own: of the part, deleted after it.
        setting: what is measured.
        note: records a result at once, so that it outlives a time-out.
        results: of the parts before.
    """

    folder: Path
    own: Path
    setting: Setting
    note: Callable[[str, Any], None]
    results: dict[str, Any]

    @property
    def rehearsed(self) -> bool:
        return not self.setting.cuda

    @property
    def precision(self) -> str:
        return "bf16" if self.setting.bf16 else "fp32"

    @property
    def steps(self) -> int:
        return 2 * self.setting.trained // self.setting.batch

    @property
    def model(self) -> Path:
        return write_model(self.folder / "model", self.setting)

    @property
    def data(self) -> Path:
        path = self.folder / "train.jsonl"
        return path if path.exists() else write_rows(path, dialogues(self.setting.trained))

    def train(self, name: str, bf16: bool | None = None, steps: int | None = None, **keys: Any) -> dict[str, Any]:
        """Train with `summtune run`; return its speed, memory and last losses."""
        at = self.own / name
        precision = self.setting.bf16 if bf16 is None else bf16
        began = time.perf_counter()
        result = speed_training.train_summtune(
            self.setting, self.model, self.data, at, precision, steps or self.steps, **keys
        )
        whole = time.perf_counter() - began
        training = json.loads((at / "training.json").read_text())
        assert all(math.isfinite(loss) for loss in result["losses"]), f"{name}: losses are not finite"
        shutil.rmtree(at)
        return {
            "samples_per_second": round(result["samples_per_second"], 2),
            "seconds": round(whole, 1),
            "peak_memory_gib": round(training["peak_memory_bytes"] / 2**30, 2),
            "precision": training["precision"],
            "first_and_last_loss": [result["losses"][0], result["losses"][-1]],
        }


@contextmanager
def running(scene: Scene, recipe: Path, run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run, which reuses nothing of other runs, and end it with the block at the latest."""
    fresh = [] if (run_dir / "plan.json").exists() else ["--fresh"]
    with (run_dir.parent / f"{run_dir.name}.said").open("ab") as said:
        command = subprocess.Popen(
            [*SUMMTUNE, "run", recipe, "--output-dir", run_dir, *fresh],
            stdout=said,
            stderr=said,
            env=scene.setting.environment,
        )
    try:
        yield command
    finally:
        kill([command.pid, *processes(run_dir)])
        command.wait()
        while processes(run_dir):
            time.sleep(0.05)


def wait(command: subprocess.Popen[bytes], run_dir: Path) -> None:
    assert command.wait() == 0, f"the run failed: {said(run_dir)}"


def said(run_dir: Path) -> str:
    return (run_dir.parent / f"{run_dir.name}.said").read_text(errors="replace")[-3000:]
