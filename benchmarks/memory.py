r"""Measures the peak memory of each rank under each ZeRO stage, and compares it with summtune's estimate.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/memory.py [--size small] [--out benchmarks/results/memory.json]
    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/memory.py --size smollm2 --layers 6 \
        --out benchmarks/results/memory_smollm2.json

Every layout is a real `summtune run` of two processes on the CPU, three optimizer steps of dialogues that fill
`sequence_len`, with FLAN-T5's shape and random weights, or with the first layers of SmolLM2-135M-Instruct (made with
pip). The modules are those of transformers, which a GPU runs too. The measurement is the bytes that torch's allocator
hands out (`torch.profiler`, profile_memory), from before the model is loaded: every tensor, and nothing else, like
`torch.cuda.max_memory_allocated` on a GPU. Resident memory would include Python and its libraries (about 0.7 GB) and
exclude memory that is allocated but not touched. The peak is that of the second and third step, because the optimizer's
state does not exist before. Under CPU offload the host *is* the device here, so the estimate's two parts are added.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

LENGTHS = {"sequence_len": 256, "target_len": 64}
STEPS = 3
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SMOLLM2 = "smollm2"
# name: keys that override the recipe
LAYOUTS: dict[str, dict[str, Any]] = {
    "one process": {"num_processes": 1},
    "two processes": {},
    "ZeRO-1": {"deepspeed": "ds_configs/zero1.json"},
    "ZeRO-2": {"deepspeed": "ds_configs/zero2.json"},
    "ZeRO-2, offload": {"deepspeed": "ds_configs/zero2_offload.json"},
    "ZeRO-3": {"deepspeed": "ds_configs/zero3.json"},
    "ZeRO-3, offload": {"deepspeed": "ds_configs/zero3_offload.json"},
    "ZeRO-2, 2 accumulated": {"deepspeed": "ds_configs/zero2.json", "gradient_accumulation_steps": 2},
    "ZeRO-2, checkpointing": {"deepspeed": "ds_configs/zero2.json", "gradient_checkpointing": True},
    "ZeRO-3, few live": {"deepspeed": "zero3_few_live.json"},
    "LoRA, one process": {"num_processes": 1, "adapter": "lora"},
    "LoRA, ZeRO-3": {"deepspeed": "ds_configs/zero3.json", "adapter": "lora"},
    "LoRA, checkpointing": {"num_processes": 1, "adapter": "lora", "gradient_checkpointing": True},
    "one process, checkpointing": {"num_processes": 1, "gradient_checkpointing": True},
    "LoRA, all linear layers": {"num_processes": 1, "adapter": "lora", "lora_target_modules": LINEAR},
    "LoRA, all, no dropout": {
        "num_processes": 1, "adapter": "lora", "lora_target_modules": LINEAR, "lora_dropout": 0.0,
    },
    "qlora, all linear layers": {"num_processes": 1, "adapter": "qlora", "lora_target_modules": LINEAR},
}  # fmt: skip


def measured_worker(arguments: list[str]) -> int:
    """Run a worker as accelerate starts it, and record the peak of torch's allocations while it trains."""
    from torch.profiler import ProfilerActivity, profile

    from summtune import worker
    from summtune.work.models import loading, on_cpu
    from summtune.work.process.stopping import StopRequest
    from summtune.work.training.train_log import Stopwatch

    load = loading.load_model

    def load_here(*positional: Any, **named: Any) -> Any:
        model = load(*positional, **named)
        for parameter in model.parameters():
            if not hasattr(parameter, "ds_id"):  # transformers loads in threads that are not profiled
                parameter.data = parameter.data.clone()
        return model

    def leave(*_: Any, **__: Any) -> None:
        """Keep the modules of transformers: those for the CPU hold fewer activations than a GPU does."""

    # Before the stage imports them.
    loading.load_model = load_here
    on_cpu.quicken = leave
    from summtune.work.training import loop

    marks: list[int] = []
    train, count = loop.train, Stopwatch.count

    def mark(self: Any, pairs: int, tokens: int) -> None:
        """Note the end of a step."""
        marks.append(time.time_ns())
        count(self, pairs, tokens)

    def measured_train(*positional: Any, **named: Any) -> None:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            train(*positional, **named)
        records = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
        held = peak = before = 0
        alive: Counter[int] = Counter()
        largest: list[str] = []
        for record in sorted(records, key=lambda record: record.start_ns()):
            size = record.nbytes()
            held += size
            alive[abs(size)] += 1 if size > 0 else -1
            if record.start_ns() <= marks[0]:
                before = max(before, held)
            elif record.start_ns() <= marks[-1] and held > peak:
                peak = held
                largest = [f"{count} x {of:,}" for of, count in alive.items() if count > 0 and of * count > held / 50]
        rank = os.environ.get("RANK", "0")
        result = {"peak_bytes": peak, "peak_bytes_of_the_start": before, "largest_at_the_peak": largest}
        (Path(arguments[0]) / f"memory.rank{rank}.json").write_text(json.dumps(result))

    Stopwatch.count = mark  # type: ignore[method-assign]  # what is measured
    loop.train = measured_train
    return worker.main(arguments, StopRequest())


def measure(name: str, folder: Path, model: Path, bf16: bool, micro_batch: int) -> dict[str, Any]:
    """Run one layout and return what it took and what was estimated."""
    from summtune.commands.pipeline import run
    from summtune.launchers import local
    from summtune.plan.draft import TrainDraft
    from summtune.plan.resolve import resolve

    keys = LENGTHS | {"num_processes": 2, "micro_batch_size": micro_batch, "bf16": bf16} | LAYOUTS[name]
    if (folder / str(keys.get("deepspeed"))).is_file():  # --set resolves paths in the current folder
        keys["deepspeed"] = str(folder / str(keys["deepspeed"]))
    sets = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
    recipe = folder / "memory.yaml"
    recipe.write_text(
        f"kind: train\nbase_model: {model}\ndatasets: [{{path: train.jsonl}}]\n"
        f"test_datasets: [{{path: train.jsonl, limit: 2}}]\nlearning_rate: 1e-4\nmax_steps: {STEPS}\n"
        "logging_steps: 1\ngeneration: {max_new_tokens: 1}\n"
    )
    original = local.command

    def command(*positional: Any, **named: Any) -> list[str]:
        given = original(*positional, **named)
        at = given.index("summtune.worker") - 1
        return [*given[:at], __file__, "--worker", *given[at + 2 :]]

    local.command = command
    try:
        draft = resolve(recipe, sets, folder / "".join(c if c.isalnum() else "_" for c in f"{name} {bf16}"))
        assert isinstance(draft, TrainDraft)
        run_dir = run(draft, Quiet(), fresh=True)
    finally:
        local.command = original
    assert run_dir is not None
    ranks = [json.loads(path.read_text()) for path in sorted(run_dir.glob("memory.rank*.json"))]
    measured = max(rank["peak_bytes"] for rank in ranks)
    memory = draft.memory
    assert memory is not None
    estimated = memory.total + memory.offloaded
    return {
        "layout": name,
        "precision": "bf16" if bf16 else "fp32",
        "measured_bytes": measured,
        "estimated_bytes": estimated,
        "estimate_to_measurement": round(estimated / measured, 3),
        "parts": {key: getattr(memory, key) for key in memory.__dataclass_fields__},
        "ranks": ranks,
    }


class Quiet:
    """A display that shows nothing."""

    def listener(self, event: dict[str, Any]) -> None:
        if event["event"] == "warning":
            print(event, file=sys.stderr)

    def stage(self, name: str, text: str, *, shows_itself: bool = False) -> None: ...

    def systems(self, done: int, total: int) -> None: ...

    def warn(self, text: str) -> None: ...


def write_model(folder: Path, size: str, layers: int | None) -> None:
    """Write the model of a size into a folder; of SmolLM2, only its first layers."""
    tools = Path(os.environ["SUMMTUNE_TEST_DATA"]) / "tools"
    made_by = [str(tools / "smollm2.py")] if size == SMOLLM2 else [str(tools / "flan_t5_shaped.py"), "--size", size]
    subprocess.run([sys.executable, *made_by, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    if layers is not None:
        from transformers import AutoModelForCausalLM

        AutoModelForCausalLM.from_pretrained(folder, num_hidden_layers=layers).save_pretrained(folder)


def write_inputs(folder: Path, model: Path) -> None:
    """Write dialogues longer than any sequence_len, summaries that fill target_len, and a ZeRO-3 config.

    The config keeps few weights gathered.
    """
    from transformers import AutoTokenizer

    words = "#Person1#: Shall we meet at the station tomorrow at noon? #Person2#: I do not know yet, let me ask. " * 40
    tokenizer = AutoTokenizer.from_pretrained(model)
    # Room for the number and the end of the turn.
    summary = tokenizer.decode(tokenizer(words, add_special_tokens=False).input_ids[: LENGTHS["target_len"] - 5])
    rows = [{"dialogue": f"{number} {words}", "summary": f"{number} {summary}"} for number in range(48)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    zero = {"stage": 3, "stage3_max_live_parameters": 20_000_000, "stage3_max_reuse_distance": 0}
    zero |= {"stage3_prefetch_bucket_size": 1_000_000}
    (folder / "zero3_few_live.json").write_text(json.dumps({"zero_optimization": zero}))


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        code = measured_worker(sys.argv[2:])
        sys.stdout.flush()
        os._exit(code)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", help="tiny, small, base, …: of tools/flan_t5_shaped.py; or smollm2")
    parser.add_argument("--layers", type=int, help="of SmolLM2; default: all 30")
    parser.add_argument("--only", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = folder / "model"
        write_model(model, arguments.size, arguments.layers)
        write_inputs(folder, model)
        for precision in arguments.precision:
            for name in arguments.only:
                row = measure(name, folder, model, precision == "bf16", arguments.micro_batch)
                rows.append(row)
                print(
                    f"{row['layout']:<24} {precision} measured {row['measured_bytes'] / 2**20:>8.0f} MiB   estimated "
                    f"{row['estimated_bytes'] / 2**20:>8.0f} MiB   × {row['estimate_to_measurement']:.2f}",
                    flush=True,
                )
                if arguments.out:  # after each, in case the measurement is interrupted
                    write(arguments.out, arguments.size, arguments.layers, arguments.micro_batch, rows)


def write(path: Path, size: str, layers: int | None, micro_batch: int, rows: list[dict[str, Any]]) -> None:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "deepspeed", "peft")}
    machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
    result = {
        "machine": machine,
        "versions": versions,
        "model": f"SmolLM2-135M-Instruct, {layers or 30} layers"
        if size == SMOLLM2
        else f"FLAN-T5-{size}, random weights",
        "micro_batch_size": micro_batch,
        **LENGTHS,
        "layouts": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
