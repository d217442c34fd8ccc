"""Times how long the report of a large comparison takes to be written, to open in a browser, and to respond there.

    .venv/bin/python benchmarks/report_page.py [--runs 5] [--out benchmarks/results/report_page.json]

Runs of made-up text with the lengths of DialogSum (1,000 characters a dialogue, three references and a summary of 180)
are written to a temporary directory. The browser is the Chromium on the PATH, without a window; each time is the median
of ``--runs`` openings of the file.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from summtune.base.files import write_json, write_jsonl
from summtune.report import write_compare_report
from summtune.runs.records import Prediction
from summtune.runs.run_plan import FORMAT

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
PROTOCOL = {
    "implementation": "rouge_score",
    "version": "0.1.2",
    "tokenizer": "rouge",
    "stemmer": True,
    "sentence_splitting": "newline",
    "references": "mean",
    "bootstrap": {"samples": 1000, "seed": 42, "confidence": 0.95},
}
UNKNOWN = dict.fromkeys(("training_device_hours", "devices", "peak_memory_bytes", "size_bytes"))
COUNTS = {"trainable_parameters": 0, "total_parameters": 247_577_856}
# Sets a control as a user does, and waits until the page is redrawn.
ACT = """async ([id, value, event]) => {
  const control = document.getElementById(id);
  const list = document.getElementById("dialogue-list");
  const changed = new Promise((resolve) => new MutationObserver(resolve).observe(list, { childList: true }));
  const started = performance.now();
  control.value = value;
  control.dispatchEvent(new Event(event));
  await changed;
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  return (performance.now() - started) / 1000;
}"""


def write_inputs(folder: Path, dialogues: int, systems: int, seed: int = 0) -> Path:
    """Write runs and their comparison as the evaluator does, with random scores; return its folder."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("etaoinshrdlucmfwyp", k=chance.randint(2, 9))) for _ in range(20_000)]

    def text(length: int) -> str:
        return " ".join(chance.choices(words, k=length // 6 + 1))[:length].strip()

    talks = []
    for place in range(dialogues):
        turns = (f"#Person{turn % 2 + 1}#: {text(75)}" for turn in range(11))
        talks.append((f"test_{place}", "\n".join(turns), tuple(text(180) for _ in range(3))))
    rows = [write_run(folder / f"system_{number}", talks, text, chance, number) for number in range(systems)]
    names = [row["name"] for row in rows]
    estimate = {"difference": 0.1, "ci_low": 0.09, "ci_high": 0.11, "p_value": 0.0001, "p_adjusted": 0.004}
    identical = {"title": "Same", "meaning": "Same.", "count": 0, "of": 1, "references": None}
    identical |= {"examples": [], "pairs": []}
    comparison = {
        "protocol": PROTOCOL | {"permutations": 10_000, "correction": "max_t"},
        "n": dialogues,
        "baseline": names[0],
        "systems": rows,
        "floor": None,
        "ceiling": None,
        "differences": [
            {"a": b, "b": a, "metric": metric} | estimate
            for place, a in enumerate(names)
            for b in names[place + 1 :]
            for metric in METRICS
        ],
        "diagnostics": {"checks": {"identical_outputs": identical}},
        "warnings": [],
        "verdict": [f"{name} beats {names[0]} by 10.0 ROUGE-1 (95% interval 9.0 to 11.0)." for name in names[1:]],
    }
    write_json(folder / "compare" / "comparison.json", comparison)
    return folder / "compare"


def write_run(folder: Path, talks: list[Any], text: Any, chance: random.Random, number: int) -> dict[str, Any]:
    predictions = (
        Prediction(id_, dialogue, text(180), references, 250, 45, False, False).to_json()
        for id_, dialogue, references in talks
    )
    write_jsonl(folder / "predictions.jsonl", predictions)
    scores = ({"id": id_} | {metric: chance.random() for metric in METRICS} for id_, _, _ in talks)
    write_jsonl(folder / "per_example.jsonl", scores)
    metrics = {metric: {"value": 0.4 + number / 50, "ci_low": 0.39, "ci_high": 0.5} for metric in METRICS}
    scored = {"metrics": metrics, "by_references": {}}
    hashes = {"ids_sha256": "0", "dialogues_sha256": None, "outputs_sha256": "0"}
    written = {"protocol": PROTOCOL, "n": len(talks), "floor": None, "ceiling": None, **scored, **hashes}
    found: dict[str, Any] = {"checks": {}, "means": {}, "notes": [], "warnings": []}
    write_json(folder / "metrics.json", written | {"per_example": "per_example.jsonl", "diagnostics": found})
    write_json(folder / "prediction_stats.json", COUNTS)
    write_json(
        folder / "plan.json", {"format": FORMAT, "name": folder.name, "kind": "prompt", "versions": {}, "recipe": {}}
    )
    return {"name": f"System {number}", "run_dir": str(folder), "kind": "prompt", "cost": UNKNOWN} | COUNTS | scored


def measure(browser: Browser, path: Path, word: str) -> dict[str, float]:
    """Return the seconds to open the page once in a fresh browser."""
    context = browser.new_context()
    page = context.new_page()
    started = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_selector("#dialogue-list article")
    times = {"first_dialogue_shown": time.perf_counter() - started}
    times["first_search"] = page.evaluate(ACT, ["search", word, "input"])
    times["search"] = page.evaluate(ACT, ["search", word[:-1], "input"])
    page.evaluate(ACT, ["search", "", "input"])
    times["sort"] = page.evaluate(ACT, ["order", "win", "change"])
    times["other_systems"] = page.evaluate(ACT, ["system-a", "2", "change"])
    times["last_page"] = page.evaluate(ACT, ["page", "1000000", "change"])
    context.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=10_000)
    parser.add_argument("--systems", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = write_inputs(Path(name), arguments.dialogues, arguments.systems)
        read_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        path = write_compare_report(folder)
        writing = time.perf_counter() - started
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        first = json.loads((Path(name) / "system_0" / "predictions.jsonl").read_text(encoding="utf-8").split("\n")[7])
        openings = [measure(browser, path, first["dialogue"].split()[3]) for _ in range(arguments.runs)]
        result = {
            "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
            "versions": {"chromium": browser.version},
            "runs": arguments.runs,
            "dialogues": arguments.dialogues,
            "systems": arguments.systems,
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "seconds_to_write": round(writing, 2),
            "peak_megabytes_of_writing": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "peak_megabytes_before": round(read_before / 1024),
            "median_seconds_in_the_browser": {
                key: round(statistics.median(each[key] for each in openings), 3) for key in openings[0]
            },
        }
        browser.close()
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
