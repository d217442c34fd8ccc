"""Times training and prediction against transformers' Seq2SeqTrainer and generation of one dialogue at a time.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/speed.py [--runs 3] [--out FILE]

FLAN-T5-small's shape with random weights, dialogues of DialogSum's validation split, global batch 8, all cores. The
programs run in turn, each in a process of its own. Random weights never end a summary, so outputs have 40 tokens.

- Training: two epochs of the same 48 dialogues, of which the second is timed. In the first one every program asks the
  system for its memory, which costs a virtual machine seconds; a real training spends its hours after that. The peer is
  stock_trainer.py: random batches, padded to the longest.
- Losses: five steps of the same pairs in the same order, no dropout.
- Prediction: 64 dialogues, in batches of 32 in summtune, as its training recipes have it. The peers are in
  stock_predictor.py.
- Endings (`--only endings`): the same where summaries end, after as many tokens as the reference of a dialogue whose
  prompt has the same length.
- ROUGE: 200 dialogues of the stream generator, summarized by `builtin/flan-t5-nano` in fp32 and in bf16. Random weights
  cannot show it.

A CPU without AVX512-BF16 or AMX only imitates bf16, which summtune refuses and nobody wants; there times are of fp32.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processor import hardware, product_rates
from startup import BIN, versions

HERE = Path(__file__).parent
NEW_TOKENS = 40
PARTS = ["training", "losses", "prediction", "rouge"]
MORE = ["endings"]  # only when asked for
_NEIGHBOURS = 8


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Args:
        size: of FLAN-T5, as flan_t5_shaped.py calls it.
        batch: pairs of an optimizer step.
        trained: dialogues of each of two epochs, a multiple of ``batch``; those of the validation split, repeated where
            they are too few.
        predicted: dialogues that are summarized.
        predicted_at_once: dialogues of summtune's batches.
        cuda: on a GPU.
        bf16: measure it too.
    """

    size: str
    batch: int
    trained: int
    predicted: int
    predicted_at_once: int
    cuda: bool
    bf16: bool = True

    @property
    def precisions(self) -> dict[str, bool]:
        return {"fp32": False} | ({"bf16": True} if self.bf16 else {})

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ) if self.cuda else os.environ | {"CUDA_VISIBLE_DEVICES": ""}

    @property
    def cuda_words(self) -> list[str]:
        return ["--cuda"] if self.cuda else []


ON_CPU = Setting(size="small", batch=8, trained=48, predicted=64, predicted_at_once=32, cuda=False)


def write_model(folder: Path, setting: Setting, dropout: float | None = None) -> Path:
    """Write FLAN-T5's shape, with another dropout than its own where one is given."""
    tool = Path(os.environ["SUMMTUNE_TEST_DATA"]) / "tools" / "flan_t5_shaped.py"
    run([sys.executable, tool, "--size", setting.size, "--out", folder], setting)
    if dropout is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"dropout_rate": dropout}))
    return folder


def dialogues(count: int) -> list[dict[str, Any]]:
    """Return dialogues of the validation split, a multiple of eight, whose lengths are distributed as in all of it.

    They are groups of eight neighbours by length, so that batches are padded as in the whole split where they are of
    like length (1.01 times the tokens of the prompts for 48 dialogues, 1.03 for all), and nearly as much where they are
    random (1.59, 1.69). With every nth dialogue a batch of like length would be padded 1.16 times.
    """
    path = Path(os.environ["SUMMTUNE_TEST_DATA"]) / "data" / "dialogsum" / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [{"dialogue": row["dialogue"], "summary": row["summary"]} for row in rows]
    if count >= len(pairs):
        return list(itertools.islice(itertools.cycle(pairs), count))
    assert count % _NEIGHBOURS == 0, f"dialogues come in groups of {_NEIGHBOURS} (got {count})"
    by_length = sorted(range(len(pairs)), key=lambda place: len(pairs[place]["dialogue"]))
    groups = count // _NEIGHBOURS
    middles = [(2 * number + 1) * len(pairs) // (2 * groups) for number in range(groups)]
    starts = [min(max(middle - _NEIGHBOURS // 2, 0), len(pairs) - _NEIGHBOURS) for middle in middles]
    return [pairs[place] for place in sorted(at for start in starts for at in by_length[start : start + _NEIGHBOURS])]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(command: list[Any], setting: Setting, environment: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment or setting.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def train_summtune(
    setting: Setting, model: Path, data: Path, folder: Path, bf16: bool, steps: int, **keys: Any
) -> dict[str, Any]:
    """Return samples a second in the second half of the steps, and all losses."""
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
    run([BIN / "summtune", "run", path, "--output-dir", folder], setting)
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
    """Return samples a second of each program in each precision, medians, with their ratios."""
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


def ratios(rates: dict[str, float], others: list[str]) -> dict[str, float]:
    """Return the rates of summtune over those of the other programs, in each two precisions that were measured."""
    ours = [name for name in rates if name.startswith("summtune")]
    theirs = [name for name in rates if name.startswith(tuple(others))]
    return {f"{our} against {their}": round(rates[our] / rates[their], 2) for our in ours for their in theirs}


def equal_losses(folder: Path, setting: Setting, steps: int = 5) -> dict[str, Any]:
    """Return by how much the losses of the same steps differ at most, in each precision; no dropout."""
    from summtune.work.batches import GlobalBatchSampler, Pair, Pairs

    model = write_model(folder / "still", setting, dropout=0.0)
    rows = dialogues(steps * setting.batch)
    pairs = Pairs([Pair(input_ids=[1], labels=[1])] * len(rows), setting.batch, 1)
    order = GlobalBatchSampler(pairs, setting.batch, 42, group_by_length=False).order(0)
    ours_data = write_rows(folder / "ours.jsonl", rows)
    stock_data = write_rows(folder / "stock.jsonl", [rows[place] for place in order])
    differences = {}
    for name, bf16 in setting.precisions.items():
        keys = {"group_by_length": False}
        ours = train_summtune(setting, model, ours_data, folder / f"still_ours_{name}", bf16, steps, **keys)["losses"]
        at = folder / f"still_stock_{name}"
        stock = train_stock(setting, model, stock_data, at, bf16, steps, "--in-order")["losses"]
        assert len(ours) == len(stock) == steps
        differences[name] = max(abs(one - other) for one, other in zip(ours, stock, strict=True))
    print("largest difference of a loss", differences, flush=True)
    return {"steps": steps, "largest_difference": differences}


def predicted(
    folder: Path, setting: Setting, runs: int, programs: dict[str, tuple[Path, list[Any]]]
) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
    """Run stock_predictor.py in turn; return dialogues a second of each program, in all runs, and its last texts.

    Args:
        programs: the dialogues and what else is said on the command line.
    """
    from summtune.launchers import local
    from summtune.plan import Launch

    # What `summtune run` gives its workers.
    device: Any = "cuda" if setting.cuda else "cpu"
    launch = Launch(distribution="none", processes=1, device=device, config_file="accelerate.yaml")
    as_worker = local.environment(launch) | ({} if setting.cuda else {"CUDA_VISIBLE_DEVICES": ""})
    model = write_model(folder / "predicting", setting)
    seen: dict[str, list[float]] = {name: [] for name in programs}
    texts: dict[str, list[str]] = {}
    for _ in range(runs):
        for name, (rows, words) in programs.items():
            out = folder / "predicted.json"
            command = [sys.executable, HERE / "stock_predictor.py", "--model", model, "--data", rows, "--out", out]
            environment = as_worker if name.startswith("summtune") else None
            run([*command, *setting.cuda_words, *words], setting, environment)
            result = json.loads(out.read_text())
            texts[name] = result["texts"]
            seen[name].append(len(result["texts"]) / result["seconds"])
            print(name, round(seen[name][-1], 2), flush=True)
    return seen, texts


def compared(setting: Setting, data: Path, words: list[Any]) -> dict[str, tuple[Path, list[Any]]]:
    """Return what runs summtune and Seq2SeqTrainer.predict in each precision, each with its own batches."""
    programs: dict[str, tuple[Path, list[Any]]] = {}
    for name, bf16 in setting.precisions.items():
        precision = ["--bf16"] if bf16 else []
        ours = ["--how", "summtune", "--batch-size", setting.predicted_at_once]
        stock = ["--how", "trainer", "--batch-size", setting.batch]
        programs[f"summtune {name}"] = data, [*ours, *precision, *words]
        programs[f"Seq2SeqTrainer {name}"] = data, [*stock, *precision, *words]
    return programs


def prediction(folder: Path, setting: Setting, runs: int) -> dict[str, Any]:
    """Return dialogues a second of each program, medians, ratios, and the share of equal texts."""
    data = write_rows(folder / "test.jsonl", dialogues(setting.predicted))
    few = write_rows(folder / "few.jsonl", dialogues(setting.predicted)[::4])
    words = ["--max-new-tokens", NEW_TOKENS]
    programs = compared(setting, data, words)
    name, (_, stock) = next(item for item in programs.items() if item[0].startswith("Seq2SeqTrainer"))
    programs[f"{name} without labels"] = data, [*stock, "--unlabelled"]
    programs["one at a time fp32"] = few, ["--how", "one_by_one", *words]
    seen, texts = predicted(folder, setting, runs, programs)
    rates = {name: round(statistics.median(values), 2) for name, values in seen.items()}
    return {
        "dialogues_per_second": rates,
        "all": seen,
        "ratios": ratios(rates, ["Seq2SeqTrainer", "one at a time"]),
        "same_text_fp32": {
            other: statistics.fmean(a == b for a, b in zip(texts["summtune fp32"][::nth], texts[other], strict=True))
            for other, nth in (("Seq2SeqTrainer fp32", 1), ("one at a time fp32", 4))
        },
    }


def endings(folder: Path, setting: Setting, runs: int) -> dict[str, Any]:
    """Return the same where each summary has as many tokens as that of a dialogue with a prompt of this length."""
    from stock_predictor import prompt_of
    from transformers import AutoTokenizer

    rows = dialogues(setting.predicted)
    tokenizer = AutoTokenizer.from_pretrained(write_model(folder / "ending", setting))
    prompts = [len(tokenizer(prompt_of(row["dialogue"]), max_length=512, truncation=True)["input_ids"]) for row in rows]
    of_length = {at: len(tokenizer(row["summary"])["input_ids"]) for at, row in zip(prompts, rows, strict=True)}
    tokens = [of_length[at] for at in prompts]
    ends = folder / "ends.json"
    ends.write_text(json.dumps(of_length))
    words = ["--max-new-tokens", 128, "--ends", ends]
    seen, texts = predicted(folder, setting, runs, compared(setting, write_rows(folder / "ending.jsonl", rows), words))
    rates = {name: round(statistics.median(values), 2) for name, values in seen.items()}
    return {
        "tokens": {"mean": round(statistics.fmean(tokens), 1), "most": max(tokens)},
        "dialogues_per_second": rates,
        "all": seen,
        "ratios": ratios(rates, ["Seq2SeqTrainer"]),
        "same_text_fp32": statistics.fmean(
            a == b for a, b in zip(texts["summtune fp32"], texts["Seq2SeqTrainer fp32"], strict=True)
        ),
    }


def rouge_of_precisions(folder: Path, setting: Setting, count: int = 200) -> dict[str, Any]:
    """Return ROUGE of the same dialogues summarized in fp32 and in bf16, and the difference with its 95 % interval."""
    from summtune.dialogue_generator import stream
    from summtune.evaluator.resampling import estimate_means
    from summtune.evaluator.rouge import score_pairs
    from summtune.paths import model_folder

    names = ["rouge1", "rouge2", "rougeL"]
    model, chosen = model_folder("builtin/flan-t5-nano"), list(itertools.islice(stream(), count))
    assert model is not None
    data = write_rows(folder / "stream.jsonl", [{"dialogue": one.dialogue} for one in chosen])
    scores = []
    for words in ([], ["--bf16"]):
        out = folder / "nano.json"
        given = ["--how", "summtune", "--model", model, "--data", data, "--out", out, "--batch-size", 32]
        more = ["--max-new-tokens", NEW_TOKENS, *setting.cuda_words, *words]
        run([sys.executable, HERE / "stock_predictor.py", *given, *more], setting)
        references = [one.references for one in chosen]
        texts = json.loads(out.read_text())["texts"]
        scores.append(score_pairs(texts, references, names, use_stemmer=True, split_sentences=True))
    fp32, bf16 = scores
    differences = estimate_means(bf16 - fp32, samples=1000, confidence=0.95, seed=1)
    return {
        "dialogues": count,
        "fp32": dict(zip(names, fp32.mean(0).round(4).tolist(), strict=True)),
        "bf16": dict(zip(names, bf16.mean(0).round(4).tolist(), strict=True)),
        "difference": {name: dataclasses.asdict(one) for name, one in zip(names, differences, strict=True)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=[*PARTS, *MORE], nargs="+")
    parser.add_argument("--out", type=Path, help="a file, or a folder for <date>-<machine>.json")
    arguments = parser.parse_args()
    if "SUMMTUNE_TEST_DATA" not in os.environ:
        parser.error("SUMMTUNE_TEST_DATA must name a folder with data/dialogsum and tools/flan_t5_shaped.py")
    parts = arguments.only or PARTS
    today, machine = datetime.datetime.now(datetime.timezone.utc).date().isoformat(), hardware()
    setting = dataclasses.replace(ON_CPU, bf16=bool(machine["bf16"]))
    if not setting.bf16:
        print("this processor has no bf16: only fp32 is timed", flush=True)
    result: dict[str, Any] = {"date": today, "machine": machine, "versions": versions(), "runs": arguments.runs}
    result["matrix_product_gflops"] = product_rates()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "training" in parts:
            result["training"] = training(folder, setting, arguments.runs)
        if "losses" in parts:
            result["losses"] = equal_losses(folder, setting)
        if "prediction" in parts:
            result["prediction"] = prediction(folder, setting, arguments.runs)
        if "endings" in parts:
            result["endings"] = endings(folder, setting, arguments.runs)
        if "rouge" in parts:
            result["rouge"] = rouge_of_precisions(folder, setting)
    print(json.dumps(result, indent=2))
    if arguments.out:
        words = re.findall(r"[a-z0-9.]+", machine["processor"].lower()) + machine["bf16"]
        name = "-".join([*words, f"{machine['cores']}cores"])
        path = arguments.out / f"{today}-{name}.json" if arguments.out.is_dir() else arguments.out
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
