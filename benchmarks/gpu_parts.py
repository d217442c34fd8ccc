"""The parts of gpu.py, each run in a process of its own: what is measured on one GPU, and what is checked."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import speed_prediction
import speed_training
import torch
from gpu_work import copy_rate, operations, product_rate
from soak import kill, processes, steps_saved
from speed_inputs import SUMMTUNE, Setting, dialogues, write_model, write_rows
from stand_ins import long_rows

ROOT = Path(__file__).parents[1]
NEW_TOKENS = speed_prediction.NEW_TOKENS
# Kernels add in another order each time, so that losses drift apart while the random numbers are the same.
RESUMED = 0.02


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


def machine(scene: Scene) -> None:
    """Notes the devices, versions and rates of this machine; fails if summtune does not see the GPU that torch uses."""
    import importlib.metadata

    from summtune.machine.devices import visible_gpus

    memory = psutil.virtual_memory().total
    scene.note("host", {"cores": os.cpu_count(), "memory_gib": round(memory / 2**30), "kernel": platform.release()})
    packages = "torch transformers accelerate peft deepspeed datasets tokenizers safetensors numpy bitsandbytes triton"
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in packages.split():
        if importlib.util.find_spec(package) is not None:
            versions[package] = importlib.metadata.version(package)
    scene.note("versions", versions | {"torch": torch.__version__})
    scene.note("compilers", {name: shutil.which(name) for name in ("c++", "nvcc", "ninja")})
    seen = visible_gpus()
    if scene.setting.cuda:
        device = torch.cuda.get_device_properties(0)
        scene.note("device", {"name": device.name, "memory_gib": round(device.total_memory / 2**30, 1)})
        assert [gpu.name for gpu in seen] == [device.name], f"torch uses {device.name}, the driver shows {seen}"
    rate = product_rate(scene.setting)
    scene.note("matrix_product_tflops", round(rate / 1e12, 3))
    scene.note("copied_gb_per_second", round(copy_rate(scene.setting) / 1e9, 1))


def inputs(scene: Scene) -> None:
    """Writes the model and the dialogues that the other parts share."""
    given = "SUMMTUNE_TEST_DATA" in os.environ
    scene.note("model", f"FLAN-T5-{scene.setting.size}'s shape, random weights")
    scene.note("tokenizer", "T5" if given else "builtin/flan-t5-nano")
    joined = "builtin dialogues, joined and cut to the length distribution of DialogSum"
    scene.note("dialogues", "DialogSum, validation split, repeated" if given else joined)
    scene.note("model_gib", round((scene.model / "model.safetensors").stat().st_size / 2**30, 2))
    rows = [json.loads(line) for line in scene.data.read_text().splitlines()]
    needed = operations(scene.model, rows[:500])
    scene.note("tokens", needed.tokens)
    scene.note("operations_of_a_pair", needed.mean)


def tests(scene: Scene) -> None:
    """Runs the tests that are marked gpu, without the slow ones."""
    _pytest(scene, "gpu and not slow")


def slow_tests(scene: Scene) -> None:
    """Runs the slow tests that are marked gpu: they compile DeepSpeed's optimizer, or the model."""
    _pytest(scene, "gpu and slow", "--slow")


def _pytest(scene: Scene, marked: str, *words: str) -> None:
    report = scene.own / "tests.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        marked,
        *words,
        f"--junitxml={report}",
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--basetemp={scene.own / 'pytest'}"]
    if importlib.util.find_spec("xdist") is not None and not scene.rehearsed:
        command += ["-n", "4"]  # one GPU serves several tiny models
    if scene.rehearsed:
        command += ["--rehearse-gpu"]
    done = subprocess.run([*command, str(ROOT / "tests")], cwd=ROOT, capture_output=True, text=True)
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


def training(scene: Scene) -> None:
    """Times training against Seq2SeqTrainer, in turn."""
    _training(scene, scene.setting.bf16, runs=2)


def training_fp32(scene: Scene) -> None:
    """Times training in fp32 against Seq2SeqTrainer."""
    _training(scene, bf16=False, runs=1)


def _training(scene: Scene, bf16: bool, runs: int) -> None:
    ours: list[float] = []
    stock: list[float] = []
    for turn in range(1 if scene.rehearsed else runs):
        result = scene.train(f"ours{turn}", bf16)
        ours.append(result["samples_per_second"])
        scene.note(f"summtune {turn}", result)
        at = scene.own / f"stock{turn}"
        done = speed_training.train_stock(scene.setting, scene.model, scene.data, at, bf16, scene.steps)
        stock.append(done["samples_per_second"])
        losses = [done["losses"][0], done["losses"][-1]]
        scene.note(f"Seq2SeqTrainer {turn}", {"samples_per_second": round(stock[-1], 2), "first_and_last_loss": losses})
        rate, other = statistics.median(ours), statistics.median(stock)
        scene.note("samples_per_second", {"summtune": round(rate, 2), "Seq2SeqTrainer": round(other, 2)})
        scene.note("ratio", round(rate / other, 2))
        if bf16 or scene.rehearsed:
            _note_utilisation(scene, rate)


def _note_utilisation(scene: Scene, rate: float) -> None:
    """Note what the model needs over what a matrix product reaches here (PaLM, 2022, appendix B)."""
    needed = scene.results.get("inputs", {}).get("operations_of_a_pair")
    reached = scene.results.get("machine", {}).get("matrix_product_tflops")
    if needed and reached:
        scene.note("model_flop_utilisation", round(needed * rate / (reached * 1e12), 4))


def lora(scene: Scene) -> None:
    """Times LoRA against full fine-tuning."""
    result = scene.train("lora", adapter="lora")
    scene.note("lora", result)
    full = scene.results.get("training", {}).get("samples_per_second", {}).get("summtune")
    if full is None:
        again = scene.train("full")
        scene.note("full", again)
        full = again["samples_per_second"]
    scene.note("ratio", round(result["samples_per_second"] / full, 2))


def qlora(scene: Scene) -> None:
    """Trains LoRA on weights of four bits."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingError("bitsandbytes is not installed")
    if scene.rehearsed:
        raise MissingError("qlora needs a CUDA device")
    scene.note("qlora", scene.train("qlora", adapter="qlora"))


def compiled(scene: Scene) -> None:
    """Times training with `torch_compile`."""
    if scene.rehearsed:
        raise MissingError("compiling takes minutes on a CPU")
    scene.note("compiled", scene.train("compiled", torch_compile=True))


def prediction(scene: Scene) -> None:
    """Times prediction against Seq2SeqTrainer.predict and one dialogue at a time, and compares the texts in fp32."""
    setting = scene.setting
    rows = dialogues(setting.predicted)
    data = write_rows(scene.own / "test.jsonl", rows)
    few = write_rows(scene.own / "few.jsonl", rows[:: setting.predicted // 8])
    (scene.own / "predicting").symlink_to(scene.model)  # speed_prediction writes its model there
    words = ["--max-new-tokens", NEW_TOKENS]
    programs = speed_prediction.compared(setting, data, words)
    programs["one at a time fp32"] = few, ["--how", "one_by_one", *words]
    order = sorted(programs, key=lambda name: scene.precision not in name)
    rates: dict[str, float] = {}
    texts: dict[str, list[str]] = {}
    for name in order:
        seen, written = speed_prediction.predicted(scene.own, setting, 1, {name: programs[name]})
        rates[name], texts[name] = round(seen[name][0], 2), written[name]
        scene.note("dialogues_per_second", rates)
        ours, theirs = (f"{who} {name.split()[-1]}" for who in ("summtune", "Seq2SeqTrainer"))
        if ours in texts and theirs in texts:
            scene.note(f"ratio {name.split()[-1]}", round(rates[ours] / rates[theirs], 2))
            scene.note(f"equal texts {name.split()[-1]}", _equal(texts[ours], texts[theirs]))
    scene.note(
        "equal texts, one at a time", _equal(texts["summtune fp32"][:: setting.predicted // 8], texts[order[-1]])
    )


def _equal(some: list[str], others: list[str]) -> float:
    return round(statistics.fmean(one == other for one, other in zip(some, others, strict=True)), 4)


def losses(scene: Scene) -> None:
    """Compares the losses of the same steps with those of Seq2SeqTrainer, without dropout."""
    found = speed_training.equal_losses(scene.own, scene.setting, 2 if scene.rehearsed else 5)
    scene.note("largest_difference", found["largest_difference"])
    assert found["largest_difference"]["fp32"] < 1e-2, "the losses differ"


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
    with _running(scene, recipe, alone) as command:
        _wait(command, alone)
    scene.note("undisturbed_seconds", _seconds(alone))
    with _running(scene, recipe, struck) as command:
        while steps_saved(struck) < 4:
            assert command.poll() is None, f"it ended before its checkpoint: {_said(struck)}"
            time.sleep(0.005)
        kill([command.pid, *processes(struck)])
    scene.note("killed_after_step", steps_saved(struck))
    scene.note("logged_before", _lines(struck))
    with _running(scene, recipe, struck) as command:
        _wait(command, struck)
    resumed = json.loads((struck / "training.json").read_text())["resumed_from_step"]
    scene.note("resumed_from_step", resumed)
    assert resumed == 4, f"it did not resume from step 4 (got {resumed})"
    one, other = (_losses(path) for path in (alone, struck))
    scene.note("losses", {"undisturbed": one, "resumed": other})
    apart = [abs(a - b) / max(abs(a), 1e-9) for a, b in zip(one, other, strict=True)]
    scene.note("largest_relative_difference", {"before": max(apart[:4]), "after": max(apart[4:])})
    scene.note("bitwise_the_same", one == other)
    assert max(apart) < RESUMED, f"the resumed training has other losses than the undisturbed one (got {apart})"


@contextmanager
def _running(scene: Scene, recipe: Path, run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
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


def _wait(command: subprocess.Popen[bytes], run_dir: Path) -> None:
    assert command.wait() == 0, f"the run failed: {_said(run_dir)}"


def _said(run_dir: Path) -> str:
    return (run_dir.parent / f"{run_dir.name}.said").read_text(errors="replace")[-3000:]


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
    data = write_rows(scene.own / "long.jsonl", long_rows(3 * batch))
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
        with _running(scene, path, run_dir) as command:
            _wait(command, run_dir)
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


def zero(scene: Scene) -> None:
    """Times ZeRO on one process against plain training."""
    scene.note("plain", scene.train("plain"))
    for stage in (1, 2, 3):
        scene.note(f"ZeRO-{stage}", scene.train(f"zero{stage}", deepspeed=f"ds_configs/zero{stage}.json"))


def offload(scene: Scene) -> None:
    """Times ZeRO with CPU offload, whose optimizer is compiled at its first use."""
    from summtune.machine.compiling import missing_for_compiling

    missing = missing_for_compiling()
    if scene.setting.cuda:
        from torch.utils.cpp_extension import CUDA_HOME

        missing += [] if CUDA_HOME else ["the CUDA toolkit (nvcc)"]
    if missing:
        raise MissingError(f"DeepSpeed's optimizer cannot be compiled without {', '.join(missing)}")
    steps = scene.steps if scene.rehearsed else 12
    for stage in (2, 3):
        name = f"zero{stage}_offload"
        scene.note(name, scene.train(name, steps=steps, deepspeed=f"ds_configs/{name}.json"))


def quickstart(scene: Scene) -> None:
    """Runs the README's first command."""
    began = time.perf_counter()
    recipe, run_dir = ROOT / "recipes" / "quickstart.yaml", scene.own / "quickstart"
    if scene.rehearsed:
        raise MissingError("a test of its own runs it on a CPU")
    with _running(scene, recipe, run_dir) as command:
        _wait(command, run_dir)
    scene.note("seconds", round(time.perf_counter() - began, 1))
    scene.note("said", _said(run_dir))
