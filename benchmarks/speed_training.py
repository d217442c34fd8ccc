"""Compares training by summtune and by Seq2SeqTrainer: samples per second, and the losses of equal steps."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speed_inputs import HERE, SUMMTUNE, Setting, dialogues, ratios, run, write_model, write_rows


def train_summtune(
    setting: Setting,
    model: Path,
    data: Path,
    folder: Path,
    bf16: bool,
    steps: int,
    summtune: Sequence[str] = SUMMTUNE,
    **keys: Any,
) -> dict[str, Any]:
    """Return samples per second in the second half of the steps, and all losses."""
    recipe = {
        "kind": "train",
        "base_model": str(model),
        "datasets": [{"path": str(data)}],
        "test_datasets": [{"path": str(data), "limit": 1}],
        "learning_rate": 1e-4,
        "micro_batch_size": setting.batch,
        "max_steps": steps,
        "save_steps": 10_000,
        "logging_steps": 1,
        "bf16": bf16,
        "num_processes": 1,
        "generation": {"max_new_tokens": 1},
        **keys,
    }
    path = folder.with_suffix(".json")
    path.write_text(json.dumps(recipe))
    run([*summtune, "run", path, "--output-dir", folder, "--fresh"], setting)
    rows = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    seconds = [setting.batch / row["samples_per_second"] for row in rows[steps // 2 :]]
    return {"samples_per_second": setting.batch * len(seconds) / sum(seconds), "losses": [row["loss"] for row in rows]}


def train_stock(
    setting: Setting, model: Path, data: Path, folder: Path, bf16: bool, steps: int, *more: str
) -> dict[str, Any]:
    words = ["--model", model, "--data", data, "--out", folder, "--micro-batch", setting.batch, "--max-steps", steps]
    words += ["--learning-rate", "1e-4", *(["--bf16"] if bf16 else []), *setting.cuda_words, *more]
    run([sys.executable, HERE / "stock_trainer.py", *words], setting)
    times = json.loads((folder / "times.json").read_text())["times"][steps // 2 - 1 :]
    return {
        "samples_per_second": setting.batch * (len(times) - 1) / (times[-1] - times[0]),
        "losses": json.loads((folder / "losses.json").read_text()),
    }


def training(folder: Path, setting: Setting, runs: int) -> dict[str, Any]:
    """Return the median samples per second of each program in each precision, with their ratios."""
    model = write_model(folder / "model", setting)
    data = write_rows(folder / "train.jsonl", dialogues(setting.trained))
    steps = 2 * setting.trained // setting.batch
    seen: dict[str, list[float]] = {}
    for turn in range(runs):
        for name, bf16 in setting.precisions.items():
            at = folder / f"{name}{turn}"
            ours = train_summtune(setting, model, data, at.with_name(f"ours_{at.name}"), bf16, steps)
            stock = train_stock(setting, model, data, at.with_name(f"stock_{at.name}"), bf16, steps)
            seen.setdefault(f"summtune {name}", []).append(ours["samples_per_second"])
            seen.setdefault(f"Seq2SeqTrainer {name}", []).append(stock["samples_per_second"])
            print(name, {key: round(values[-1], 2) for key, values in seen.items()}, flush=True)
    rates = {name: round(statistics.median(values), 2) for name, values in seen.items()}
    return {
        "samples_per_second": rates,
        "all": seen,
        "ratios": ratios(rates, ["Seq2SeqTrainer"]),
    }


def equal_losses(folder: Path, setting: Setting, steps: int = 5) -> dict[str, Any]:
    """Return the largest difference between losses of the same step in each precision, without dropout."""
    from summtune.work.tokens.pairs import Pair, Pairs
    from summtune.work.training.batches import GlobalBatches

    model = write_model(folder / "still", setting, dropout=0.0)
    rows = dialogues(steps * setting.batch)
    pairs = Pairs([Pair(input_ids=[1], labels=[1])] * len(rows), setting.batch, 1)
    order = GlobalBatches(pairs, setting.batch, 42, group_by_length=False).order(0)
    ours_data = write_rows(folder / "ours.jsonl", rows)
    stock_data = write_rows(folder / "stock.jsonl", [rows[place] for place in order])
    differences = {}
    for name, bf16 in setting.precisions.items():
        keys: dict[str, Any] = {"group_by_length": False}
        ours = train_summtune(setting, model, ours_data, folder / f"still_ours_{name}", bf16, steps, **keys)["losses"]
        at = folder / f"still_stock_{name}"
        stock = train_stock(setting, model, stock_data, at, bf16, steps, "--in-order")["losses"]
        assert len(ours) == len(stock) == steps
        differences[name] = max(abs(one - other) for one, other in zip(ours, stock, strict=True))
    print("largest difference of a loss", differences, flush=True)
    return {"steps": steps, "largest_difference": differences}
