"""Measures what each part that makes models faster on CPUs brings: times without it over times with all parts.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/cpu_parts.py [--rounds 3] [--threads 1] [--avx2] [--out FILE]

FLAN-T5-small's shape with random weights, on DialogSum's validation split. Each set of parts has a separate process,
with the environment that `summtune run` gives its workers. The processes take turns, a block each, so that all of them
meet the other programs of the machine. A process that waits takes no time. The first round is not counted.

- A block of training is a step with a global batch of eight dialogues: collator, forward and backward pass, clipping,
  fused AdamW. A round is an epoch of 24 dialogues.
- A block of prediction summarizes 32 dialogues greedily. A summary ends after as many tokens as the reference of a
  dialogue whose prompt is as long (stock_predictor.py). A round is 64 dialogues.

The result has the median of all rounds, the least and the most, for the wall clock and for the CPU time of the process.
"nothing" has none of the parts: it is transformers' own modules, in batches of random length.

``--avx2`` imitates a processor with vectors of 256 bits. It limits torch, oneDNN and the compiler. MKL, which
multiplies in fp32, selects its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import speed_inputs
from processor import hardware, product_rates
from startup import versions
from stock_predictor import end_where_wanted, prompt_of, settings

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "SUMMTUNE_BENCH_AVX2": "1"}
# What is left out for each row of the result.
TRAINING = {
    "compiled passes": ["passes"],
    "target-token logits": ["targets"],
    "length grouping": ["grouping"],
    "nothing": ["passes", "targets", "grouping"],
}
PREDICTION = {
    "compiled passes": ["passes"],
    "compiled attention of a new token": ["decode"],
    "packed weights": ["packed"],
    "leaving out ended rows": ["greedy"],
    "encoding in parts": ["parts"],
    "length grouping": ["grouping"],
    "nothing": ["passes", "packed", "greedy", "parts", "grouping"],
}
PARTS = {"training": TRAINING, "prediction": PREDICTION}
TRAINED, PAIRS = 24, 8  # dialogues, and those of a step
PREDICTED, SUMMARIES = 64, 32  # dialogues, and those of a batch
BLOCKS = {"training": TRAINED // PAIRS, "prediction": PREDICTED // SUMMARIES}  # of a round


def leave_out(parts: Sequence[str]) -> None:
    """Replace functions of summtune before they are used."""
    from summtune.work import cpu
    from summtune.work.cpu import compiled_passes, kernels, library
    from summtune.work.generation import local
    from summtune.work.models import encoder_decoder

    if "SUMMTUNE_BENCH_AVX2" in os.environ:
        narrow = {"-march=native": "-march=x86-64-v3", "-mprefer-vector-width=512": "-mprefer-vector-width=256"}
        library._FLAGS = tuple(narrow.get(flag, flag) for flag in library._FLAGS)
    assert library.why_not() is None
    in_order = [range(start, start + SUMMARIES) for start in range(0, PREDICTED, SUMMARIES)]
    replacements: dict[str, tuple[Any, str, Any]] = {
        "passes": (library, "why_not", lambda: "it is left out"),
        "decode": (
            compiled_passes,
            "decode_attention",
            lambda q, k, v, bias, mask: kernels.attention(q, k, v, bias, mask, 0.0),
        ),
        "parts": (cpu, "encode_in_parts", lambda _: None),
        "packed": (cpu, "pack_weights", lambda _: None),
        "greedy": (encoder_decoder, "takes_one_path", lambda *_: False),
        "grouping": (local, "batches_of_like_length", lambda *_: in_order),
    }
    for part in replacements.keys() & set(parts):
        module, name, replacement = replacements[part]
        assert hasattr(module, name)
        setattr(module, name, replacement)


def training_steps(model_folder: Path, bf16: bool, left_out: Sequence[str]) -> Iterator[list[str]]:
    """Train a step for each element, which is empty."""
    import torch

    from summtune.work.models.encoder_decoder import Collator
    from summtune.work.models.loading import load_model, load_tokenizer
    from summtune.work.models.on_cpu import quicken
    from summtune.work.tokens.pairs import Pair, Pairs
    from summtune.work.training.batches import GlobalBatches
    from summtune.work.training.loss import TokenLoss

    tokenizer, model = load_tokenizer(model_folder), load_model(model_folder, torch.float32).train()
    quicken(model, "training", print)
    # For a compiled model it computes all logits.
    token_loss = TokenLoss(model, torch.device("cpu"), compiled="targets" in left_out)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    rows = [
        Pair(
            input_ids=tokenizer(prompt_of(row["dialogue"]), max_length=512, truncation=True)["input_ids"],
            labels=tokenizer(row["summary"])["input_ids"],
        )
        for row in speed_inputs.dialogues(TRAINED)
    ]
    pairs = Pairs(rows, PAIRS, 1)
    batches = GlobalBatches(pairs, PAIRS, seed=42, group_by_length="grouping" not in left_out)
    collate = Collator(pad=0, start=0)
    for step in itertools.count():
        places = batches[step]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            total = token_loss(model, collate([pairs[place] for place in places]))
        (total / batches.target_tokens(places)).backward()  # type: ignore[no-untyped-call]  # torch
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield []


def predicted_batches(model_folder: Path, bf16: bool, _: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts of one batch after the other, again and again."""
    import torch

    from summtune.work.generation.decoding import place
    from summtune.work.generation.local import LocalGenerator
    from summtune.work.models.loading import load_model, load_tokenizer

    tokenizer = load_tokenizer(model_folder)
    model = load_model(model_folder, torch.bfloat16 if bf16 else torch.float32).eval()
    place(model, torch.device("cpu"), print)
    rows = speed_inputs.dialogues(PREDICTED)
    prompts = [tokenizer(prompt_of(row["dialogue"]), max_length=512, truncation=True)["input_ids"] for row in rows]
    of_length = {len(ids): len(tokenizer(row["summary"])["input_ids"]) for ids, row in zip(prompts, rows, strict=True)}
    with tempfile.TemporaryDirectory() as temporary:
        ends = Path(temporary) / "ends.json"
        ends.write_text(json.dumps(of_length))
        given = argparse.Namespace(ends=ends, max_new_tokens=128)
        end_where_wanted(model, given)
    generator = LocalGenerator(model, tokenizer, settings(model, given), batch_size=SUMMARIES, seed=0)
    while True:
        outputs = generator.generate(prompts)
        while texts := [output.text for _, output in itertools.islice(outputs, SUMMARIES)]:
            yield texts


def work(given: dict[str, Any]) -> None:
    """Run a block for each line of the standard input, and write its times and texts."""
    answers, sys.stdout = sys.stdout, sys.stderr
    if given["what"] == "products":
        print(json.dumps(product_rates()), file=answers)
        return
    leave_out(given["left_out"])
    blocks = training_steps if given["what"] == "training" else predicted_batches
    running = blocks(Path(given["model"]), given["bf16"], given["left_out"])
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        texts = next(running)
        times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(times | {"texts": texts}), file=answers, flush=True)


class Worker:
    """A process without some of the parts."""

    def __init__(self, given: dict[str, Any], environment: dict[str, str]) -> None:
        command = [sys.executable, __file__, "--worker", json.dumps(given)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def block(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def one_round(workers: dict[str, Worker], blocks: int) -> dict[str, dict[str, Any]]:
    """Return times and texts of so many blocks of each worker."""
    took: dict[str, dict[str, Any]] = {name: {"wall": 0.0, "cpu": 0.0, "texts": []} for name in workers}
    for _ in range(blocks):
        for name, worker in workers.items():
            block = worker.block()
            for key in took[name]:
                took[name][key] += block[key]
    return took


def compare(
    given: dict[str, Any], parts: dict[str, list[str]], rounds: int, at_once: int, environment: dict[str, str]
) -> dict[str, Any]:
    """Return the ratios of each part.

    Args:
        given: to each worker: ``what`` it does, the folder of its ``model``, ``bf16``.
        parts: what is left out for each row of the result.
        rounds: that are counted.
        at_once: parts that are compared at the same time; each is a process with a model.
        environment: of the workers.
    """
    what = given["what"]
    seconds: list[float] = []
    result: dict[str, Any] = {"cpu_seconds_of_all_parts": seconds}
    names = list(parts)
    for start in range(0, len(names), at_once):
        group: dict[str, list[str]] = {"all": []} | {name: parts[name] for name in names[start : start + at_once]}
        workers = {name: Worker(given | {"left_out": left_out}, environment) for name, left_out in group.items()}
        first, *counted = [one_round(workers, BLOCKS[what]) for _ in range(rounds + 1)]
        for worker in workers.values():
            worker.process.communicate()
        seconds += [round(took["all"]["cpu"], 2) for took in counted]
        for name in list(group)[1:]:
            result[name] = {
                key: spread([took[name][key] / took["all"][key] for took in counted]) for key in ("wall", "cpu")
            }
            if what == "prediction":
                same = sum(text in first["all"]["texts"] for text in first[name]["texts"])
                result[name]["same_texts"] = round(same / PREDICTED, 2)
            print(given, name, result[name], flush=True)
    return result


def spread(values: Sequence[float]) -> dict[str, float]:
    return {name: round(of(values), 2) for name, of in (("median", statistics.median), ("least", min), ("most", max))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default=speed_inputs.ON_CPU.size)
    parser.add_argument("--only", choices=[*PARTS], nargs="+", default=[*PARTS])
    parser.add_argument("--parts", choices=sorted(TRAINING | PREDICTION), nargs="+", help="all unless given")
    parser.add_argument("--precisions", choices=["fp32", "bf16"], nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False))
    parser.add_argument(
        "--at-once", type=int, default=1, help="parts compared at the same time: a model each in memory"
    )
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    from summtune.launchers import local
    from summtune.plan.launch import Launch

    launch = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")
    environment = local.environment(launch) | {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(arguments.threads),
        "PYTHONPATH": str(speed_inputs.HERE),  # the environment of workers leaves out the folder of the script
        **(AVX2 if arguments.avx2 else {}),
    }
    products = [sys.executable, __file__, "--worker", json.dumps({"what": "products"})]
    result: dict[str, Any] = {
        "machine": hardware(),
        "imitated": "AVX2" if arguments.avx2 else None,
        "versions": versions(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "matrix_product_gflops": json.loads(subprocess.check_output(products, env=environment, text=True)),
    }
    with tempfile.TemporaryDirectory() as temporary:
        setting = dataclasses.replace(speed_inputs.ON_CPU, size=arguments.size)
        model = speed_inputs.write_model(Path(temporary) / "model", setting)
        for what in arguments.only:
            parts = {name: out for name, out in PARTS[what].items() if name in (arguments.parts or PARTS[what])}
            for precision in arguments.precisions:
                given = {"what": what, "model": str(model), "bf16": precision == "bf16"}
                result[f"{what} {precision}"] = compare(given, parts, arguments.rounds, arguments.at_once, environment)
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
