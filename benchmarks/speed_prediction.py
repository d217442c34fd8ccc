"""Compares prediction by summtune and by stock_predictor.py: dialogues per second, texts, ROUGE of precisions."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from speed_inputs import HERE, Setting, dialogues, ratios, run, write_model, write_rows

NEW_TOKENS = 40


def predicted(
    folder: Path, setting: Setting, runs: int, programs: dict[str, tuple[Path, list[Any]]]
) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
    """Run stock_predictor.py in turn; return the dialogues per second of all runs of each program, and its last texts.

    Args:
        programs: the dialogues and the other arguments of each.
    """
    from summtune.launchers import local
    from summtune.plan.launch import Launch

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
    """Return the programs that run summtune and Seq2SeqTrainer.predict in each precision, with their own batches."""
    programs: dict[str, tuple[Path, list[Any]]] = {}
    for name, bf16 in setting.precisions.items():
        precision = ["--bf16"] if bf16 else []
        ours = ["--how", "summtune", "--batch-size", setting.predicted_at_once]
        stock = ["--how", "trainer", "--batch-size", setting.batch]
        programs[f"summtune {name}"] = data, [*ours, *precision, *words]
        programs[f"Seq2SeqTrainer {name}"] = data, [*stock, *precision, *words]
    return programs


def prediction(folder: Path, setting: Setting, runs: int) -> dict[str, Any]:
    """Return the median dialogues per second of each program, their ratios, and the share of equal texts."""
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
    """Return the same results with realistic summary lengths, given by the length of the prompt."""
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
    from summtune.base.places import model_folder
    from summtune.data.builtin import stream
    from summtune.evaluator.resampling import estimate_means
    from summtune.evaluator.rouge import score_pairs

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
        "difference": {name: one.model_dump() for name, one in zip(names, differences, strict=True)},
    }
