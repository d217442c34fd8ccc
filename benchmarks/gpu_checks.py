"""The parts of gpu.py that check: tests, a kill and its resume, memory, `--smoke`, the quickstart."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from gpu_scene import ROOT, MissingError, Scene, running, said, wait
from soak import kill, processes, steps_saved
from speed_inputs import SUMMTUNE, write_rows
from stand_ins import long_rows

# Kernels add in another order each time, so that losses drift apart while the random numbers are the same.
RESUMED = 0.02


def tests(scene: Scene) -> None:
    """Runs the tests that are marked gpu, without the slow ones."""
    _pytest(scene, "gpu and not slow")


def slow_tests(scene: Scene) -> None:
    """Runs the slow tests that are marked gpu: they compile DeepSpeed's optimizer, or the model."""
    _pytest(scene, "gpu and slow", "--slow")


def _pytest(scene: Scene, marked: str, *words: str) -> None:
    report = scene.own / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", marked, *words, f"--junitxml={report}"]
    command += ["-p", "no:cacheprovider", "-p", "pytest_timeout", f"--basetemp={scene.own / 'pytest'}"]
    if scene.rehearsed:
        command += ["--rehearse-gpu"]
    elif importlib.util.find_spec("xdist") is not None:
        command += ["-p", "xdist.plugin", "-n", "4"]  # one GPU serves several tiny models
    # The other tests need packages that only developers have.
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    # Plugins of the machine may warn, and in these tests a warning is an error.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([*command, *files], cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert report.exists(), f"pytest wrote no report: {done.stdout[-3000:]} {done.stderr[-3000:]}"
    outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        skip = case.find("skipped")
        if bad is not None:
            outcomes["failed"].append(f"{name}: {bad.get('message', '')[:300]}\n{(bad.text or '')[-3000:]}")
        elif skip is not None:
            outcomes["skipped"].append(f"{name}: {skip.get('message')}")
        else:
            outcomes["passed"].append(name)
    for key, names in outcomes.items():
        scene.note(key, names)
    assert not outcomes["failed"], f"{len(outcomes['failed'])} tests failed, see `failed`"
    assert done.returncode == 0, f"pytest ended with {done.returncode}: {done.stdout[-2000:]}"
    assert outcomes["passed"], "no test ran"


def kill_and_resume(scene: Scene) -> None:
    """Kills a training with all its processes, resumes it, and compares it with an undisturbed one."""
    recipe = scene.own / "resume.json"
    keys: dict[str, Any] = {
        "kind": "train",
        "base_model": str(scene.model),
        "datasets": [{"path": str(scene.data)}],
        "test_datasets": [{"path": str(scene.data), "limit": 1}],
        "learning_rate": 1e-4,
        "micro_batch_size": scene.setting.batch,
        "max_steps": 8,
        "save_steps": 4,
        "logging_steps": 1,
        "bf16": scene.setting.bf16,
        "num_processes": 1,
        "generation": {"max_new_tokens": 1},
    }
    recipe.write_text(json.dumps(keys))
    alone, struck = scene.own / "alone", scene.own / "struck"
    with running(scene, recipe, alone) as command:
        wait(command, alone)
    scene.note("undisturbed_seconds", _seconds(alone))
    with running(scene, recipe, struck) as command:
        while steps_saved(struck) < 4:
            assert command.poll() is None, f"it ended before its checkpoint: {said(struck)}"
            time.sleep(0.005)
        kill([command.pid, *processes(struck)])
    scene.note("killed_after_step", steps_saved(struck))
    scene.note("logged_before", _lines(struck))
    with running(scene, recipe, struck) as command:
        wait(command, struck)
    resumed = json.loads((struck / "training.json").read_text())["resumed_from_step"]
    scene.note("resumed_from_step", resumed)
    assert resumed == 4, f"it did not resume from step 4 (got {resumed})"
    one, other = (_losses(path) for path in (alone, struck))
    scene.note("losses", {"undisturbed": one, "resumed": other})
    apart = [abs(a - b) / max(abs(a), 1e-9) for a, b in zip(one, other, strict=True)]
    scene.note("largest_relative_difference", {"before": max(apart[:4]), "after": max(apart[4:])})
    scene.note("bitwise_the_same", one == other)
    assert max(apart) < RESUMED, f"the resumed training has other losses than the undisturbed one (got {apart})"


def _lines(run_dir: Path) -> int:
    return (run_dir / "train_log.jsonl").read_text().count("\n")


def _seconds(run_dir: Path) -> float:
    return float(json.loads((run_dir / "training.json").read_text())["seconds"])


def _losses(run_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run_dir / "train_log.jsonl").read_text().splitlines()]


MEMORY: dict[str, dict[str, Any]] = {
    "full": {},
    "LoRA": {"adapter": "lora"},
}
MORE_MEMORY: dict[str, dict[str, Any]] = {
    "full, fp32": {"bf16": False},
    "full, checkpointing": {"gradient_checkpointing": True},
    "LoRA, checkpointing": {"adapter": "lora", "gradient_checkpointing": True},
    "ZeRO-2": {"deepspeed": "ds_configs/zero2.json"},
    "ZeRO-3": {"deepspeed": "ds_configs/zero3.json"},
}


def memory(scene: Scene) -> None:
    """Compares the peak of the device's memory with the estimate, for dialogues that fill sequence_len."""
    _memory(scene, MEMORY)


def more_memory(scene: Scene) -> None:
    """Compares more layouts with their estimates."""
    _memory(scene, MORE_MEMORY)


def _memory(scene: Scene, layouts: dict[str, dict[str, Any]]) -> None:
    from summtune.plan.draft import TrainDraft
    from summtune.plan.resolve import resolve

    lengths = {"sequence_len": 512, "target_len": 128} if scene.setting.cuda else {"sequence_len": 64, "target_len": 16}
    batch = min(16, scene.setting.batch)
    data = write_rows(scene.own / "long.jsonl", long_rows(3 * batch, lengths["target_len"]))
    for name, keys in layouts.items():
        recipe = {
            "kind": "train",
            "base_model": str(scene.model),
            "datasets": [{"path": str(data)}],
            "test_datasets": [{"path": str(data), "limit": 1}],
            "learning_rate": 1e-4,
            "micro_batch_size": batch,
            "max_steps": 3,
            "logging_steps": 1,
            "bf16": scene.setting.bf16,
            "num_processes": 1,
            "generation": {"max_new_tokens": 1},
            **lengths,
            **keys,
        }
        path, run_dir = scene.own / "memory.json", scene.own / "memory"
        path.write_text(json.dumps(recipe))
        draft = resolve(path, [], run_dir)
        assert isinstance(draft, TrainDraft)
        assert draft.memory is not None
        with running(scene, path, run_dir) as command:
            wait(command, run_dir)
        measured = json.loads((run_dir / "training.json").read_text())["peak_memory_bytes"]
        shutil.rmtree(run_dir)
        estimated = draft.memory.total
        scene.note(
            name,
            {
                "measured_gib": round(measured / 2**30, 2),
                "estimated_gib": round(estimated / 2**30, 2),
                "estimate_to_measurement": round(estimated / measured, 3),
            },
        )


def smoke(scene: Scene) -> None:
    """Runs `summtune run --smoke`, which compares the peak of the memory with its estimate, and forecasts the run."""
    recipe = scene.own / "smoke.json"
    keys: dict[str, Any] = {
        "kind": "train",
        "base_model": str(scene.model),
        "datasets": [{"path": str(scene.data)}],
        "test_datasets": [{"path": str(scene.data), "limit": 8}],
        "learning_rate": 1e-4,
        "micro_batch_size": scene.setting.batch,
        "num_epochs": 3,
        "num_processes": 1,
        "bf16": scene.setting.bf16,
        "generation": {"max_new_tokens": 8},
    }
    recipe.write_text(json.dumps(keys))
    command = [*SUMMTUNE, "run", recipe, "--smoke", "--output-dir", scene.own / "smoke"]
    began = time.perf_counter()
    environment = scene.setting.environment | {"COLUMNS": "120"}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    scene.note("seconds", round(time.perf_counter() - began, 1))
    scene.note("said", (done.stdout + done.stderr).splitlines()[-40:])
    assert done.returncode == 0, f"--smoke ended with {done.returncode}, see `said`"


def quickstart(scene: Scene) -> None:
    """Runs the README's first command."""
    began = time.perf_counter()
    recipe, run_dir = ROOT / "recipes" / "quickstart.yaml", scene.own / "quickstart"
    if scene.rehearsed:
        raise MissingError("another test runs it on a CPU")
    with running(scene, recipe, run_dir) as command:
        wait(command, run_dir)
    scene.note("seconds", round(time.perf_counter() - began, 1))
    scene.note("said", said(run_dir))
