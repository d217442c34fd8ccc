"""Times ROUGE with intervals against a loop over rouge_score with its own bootstrap, in turn in one run.

    SUMMTUNE_TEST_DATA=... .venv/bin/python benchmarks/scoring.py [--runs 3] [--out benchmarks/results/scoring.json]

Pairs of a prediction and a reference, all different, made of DialogSum's summaries: a reference, and another person's
summary of the same dialogue with a part of its words exchanged. Every measurement is a separate process, without its
imports: seconds, and the most memory it held. Both score rouge1, rouge2, rougeL and rougeLsum with the stemmer and
resample a thousand times; ours splits sentences besides, the peer takes lines for them. Then ours alone: memory from
1,000 to 100,000 pairs, and 10,000 resamples of 1,500 dialogues × 5 systems × 4 metrics.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
PAIRS = 10_000
SAMPLES = 1000
PACKAGES = ("summtune", "rouge_score", "sentencex", "nltk", "numpy")


def pairs(count: int) -> Iterator[tuple[str, str]]:
    path = Path(os.environ["SUMMTUNE_TEST_DATA"]) / "data" / "dialogsum" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    generator = random.Random(0)
    vocabulary = sorted({word for row in rows for word in row["summary1"].split()})
    for _ in range(count):
        row = generator.choice(rows)
        written, reference = generator.sample([row["summary1"], row["summary2"], row["summary3"]], 2)
        words = [word if generator.random() < 0.75 else generator.choice(vocabulary) for word in written.split()]
        yield " ".join(words), f"{reference} {generator.choice(vocabulary)}"


def ours(count: int) -> float:
    from summtune.evaluator.resampling import estimate_means
    from summtune.evaluator.rouge import score_pairs

    made = list(pairs(count))
    score_pairs(["warm"], [["up"]], NAMES, use_stemmer=True, split_sentences=True)
    started = time.perf_counter()
    texts, references = (text for text, _ in made), ([reference] for _, reference in made)
    scores = score_pairs(texts, references, NAMES, use_stemmer=True, split_sentences=True)
    estimate_means(scores, samples=SAMPLES, confidence=0.95, seed=42)
    return time.perf_counter() - started


def peer(count: int) -> float:
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.scoring import BootstrapAggregator

    made = list(pairs(count))
    scorer = RougeScorer(NAMES, use_stemmer=True)
    started = time.perf_counter()
    aggregator = BootstrapAggregator(n_samples=SAMPLES)
    for text, reference in made:
        aggregator.add_scores(scorer.score(reference, text))
    aggregator.aggregate()
    return time.perf_counter() - started


def memory(count: int) -> float:
    from summtune.evaluator.rouge import score_pairs

    list(pairs(1))
    score_pairs(["warm"], [["up"]], NAMES, use_stemmer=True, split_sentences=True)
    started = time.perf_counter()
    texts, references = itertools.tee(pairs(count))
    score_pairs(
        (text for text, _ in texts),
        ([reference] for _, reference in references),
        NAMES,
        use_stemmer=True,
        split_sentences=True,
    )
    return time.perf_counter() - started


def resampling(count: int) -> float:
    import numpy as np

    from summtune.evaluator.resampling import estimate_means

    scores = np.random.default_rng(0).beta(2.0, 5.0, size=(1500, 20))
    started = time.perf_counter()
    estimate_means(scores, samples=count, confidence=0.95, seed=42)
    return time.perf_counter() - started


KINDS = {"ours": ours, "peer": peer, "memory": memory, "resampling": resampling}


def measured(kind: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", kind, str(count)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        seconds = KINDS[arguments.one[0]](int(arguments.one[1]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": round(seconds, 3), "peak_memory_bytes": peak}))
        return
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(arguments.runs):
        for kind, seen in times.items():
            seen.append(measured(kind, PAIRS)["seconds"])
    medians = {kind: statistics.median(seen) for kind, seen in times.items()}
    result = {
        "machine": {"python": platform.python_version(), "processors": os.cpu_count(), "machine": platform.machine()},
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "pairs": PAIRS,
        "seconds": times,
        "pairs_per_second": {kind: round(PAIRS / seconds) for kind, seconds in medians.items()},
        "ratio": round(medians["peer"] / medians["ours"], 1),
        "memory": {str(count): measured("memory", count) for count in (1000, 10_000, 100_000)},
        "resampling_seconds": statistics.median(measured("resampling", 10_000)["seconds"] for _ in range(3)),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
