"""Measures SmolLM2-135M-Instruct on DialogSum, prompted and trained, and writes docs/real_model.md from the results.

    python -m scripts.real_model

The model is made from a wheel of pip's registry. The data is DialogSum's validation split (500 pairs, to train on) and
its test split (500 dialogues with three summaries each). Everything is one recipe of kind compare; a call with the same
``--runs`` resumes it. Outputs of other systems are compared with it, each as an entry of ``recipes``:

    --published "{name: GPT-4 (published), predictions: gpt4.csv, prediction_field: Summary, id_field: TestID}"

With playwright and Chromium, the top of the report becomes docs/real_model.png.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2
import yaml

from scripts.quickstart_seeds import machine
from summtune.base import numbers
from summtune.base.errors import StageError, SummtuneError
from summtune.base.files import read_json, read_jsonl, write_json, write_text
from summtune.commands.notebook import REPORT
from summtune.data.leakage import near_copies
from summtune.runs.comparison import Comparison, Difference
from summtune.runs.finished import FinishedComparison, FinishedRun, read_comparison

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes" / "smollm2-135m"
MEASURED = "measured.json"
METRICS = ("rouge1", "rouge2", "rougeL")
SUMMARIES = ["summary1", "summary2", "summary3"]
GROUPS = ("LoRA", "Full fine-tuning")
_COMPARE = "compare.yaml"
_PICTURE = (1000, 1720)
"""Pixels of the report in the picture."""


def main() -> None:
    """Run what is missing, and write the page."""
    arguments = _arguments()
    runs: Path = arguments.runs
    if not arguments.page_only:
        measure(arguments, runs)
    files = read_comparison(runs / "systems")
    pictured = _picture(runs / "systems" / REPORT, arguments.docs / "real_model.png")
    write_text(arguments.docs / "real_model.md", page(files, read_json(runs / MEASURED), pictured))
    print(arguments.docs / "real_model.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    data = os.environ.get("SUMMTUNE_TEST_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=None if data is None else Path(data),
        help="folder with data/dialogsum and tools/smollm2.py; default: SUMMTUNE_TEST_DATA",
    )
    parser.add_argument("--runs", type=Path, default=HERE.parent / "outputs" / "real", help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="of the trained systems")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="as summtune's")
    parser.add_argument(
        "--published",
        type=yaml.safe_load,
        action="append",
        default=[],
        metavar="{name: …, predictions: FILE, …}",
        help="outputs of another system, as an entry of `recipes`",
    )
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="folder that the page goes to")
    parser.add_argument("--page-only", action="store_true", help="run nothing: write the page from --runs")
    arguments = parser.parse_args()
    if arguments.data is None and not arguments.page_only:
        parser.error("no folder of data (got no --data and no SUMMTUNE_TEST_DATA); give one of them")
    return arguments


def measure(arguments: argparse.Namespace, runs: Path) -> None:
    """Run and compare all systems, and record what the page shows besides their results.

    Raises:
        StageError: a command failed.
    """
    runs.mkdir(parents=True, exist_ok=True)
    model, data = runs / "SmolLM2-135M-Instruct", arguments.data / "data" / "dialogsum"
    if not (model / "model.safetensors").is_file():
        _call([sys.executable, str(arguments.data / "tools" / "smollm2.py"), "--out", str(model)])
    published = [entry | {"predictions": str(Path(entry["predictions"]).absolute())} for entry in arguments.published]
    recipe = comparison(model, data, arguments.seeds, published)
    write_text(runs / _COMPARE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    sets = [part for given in arguments.sets for part in ("--set", given)]
    summtune = str(Path(sysconfig.get_path("scripts")) / "summtune")
    _call([summtune, "run", str(runs / _COMPARE), *sets, "--output-dir", str(runs / "systems")])
    command = shlex.join(["python", "-m", "scripts.real_model", *sys.argv[1:]]).replace(" --", " \\\n    --")
    found = {"command": command, "machine": machine(), "python": platform.python_version(), "leaked": leaked(data)}
    write_json(runs / MEASURED, found)


def leaked(data: Path) -> list[str]:
    """Return the ids of the test dialogues that are also in the validation split, exactly or nearly.

    Args:
        data: folder of DialogSum's splits.
    """
    tests, training = (list(read_jsonl(data / f"{split}.jsonl")) for split in ("test", "validation"))
    copies = near_copies([row["dialogue"] for row in tests], (row["dialogue"] for row in training))
    return [tests[place]["fname"] for place in sorted({copy.test for copy in copies})]


def comparison(
    model: Path, data: Path, seeds: Sequence[int], published: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return the recipe that compares all systems.

    Args:
        model: folder of SmolLM2-135M-Instruct.
        data: folder of DialogSum's splits.
        seeds: of the trained systems.
        published: entries for the outputs of other systems.
    """
    train = [{"path": str(data / "validation.jsonl"), "id_field": "fname"}]
    test = [{"path": str(data / "test.jsonl"), "id_field": "fname", "summary_field": SUMMARIES}]
    systems: list[dict[str, Any]] = [
        {"name": "Zero-shot", "recipe": str(RECIPES / "zero_shot.yaml")},
        {"name": "One-shot", "recipe": str(RECIPES / "few_shot.yaml"), "overrides": {"shots": 1}},
        {"name": "Three-shot", "recipe": str(RECIPES / "few_shot.yaml")},
    ]
    for name, recipe in zip(GROUPS, ("lora.yaml", "full_ft.yaml"), strict=True):
        systems += [
            {"name": f"{name}, seed {seed}", "recipe": str(RECIPES / recipe), "overrides": {"seed": seed}}
            for seed in seeds
        ]
    return {
        "kind": "compare",
        "recipes": [*systems, *map(dict, published)],
        "overrides": {
            "base_model": str(model),
            "datasets": train,
            "test_datasets": test,
            "val_set_size": 50,  # of 500; the checkpoint with the lowest loss on them becomes the model
            "micro_batch_size": 2,  # a global batch of 8, in 3 GB
            "gradient_accumulation_steps": 4,
        },
        "baseline": "Zero-shot",
    }


def page(files: FinishedComparison, measured: Mapping[str, Any], pictured: bool) -> str:
    """Return docs/real_model.md.

    Args:
        files: the comparison and its runs.
        measured: the command, the machine, the version of Python, and the ids of leaked dialogues.
        pictured: whether there is a picture of the report.
    """
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["item"] = _item
    template = environment.from_string((HERE / "real_model.md.jinja").read_text(encoding="utf-8"))
    compared = files.comparison
    named = list(zip((system.name for system in compared.systems), files.runs, strict=True))
    ran = [(name, run) for name, run in named if run.facts.kind != "scored"]
    trained = [(name, run) for name, run in ran if run.facts.training is not None]
    return template.render(
        measured=measured,
        pictured=pictured,
        scores=[_score_row(name, run) for name, run in named],
        anchors=_anchors(compared),
        kept=[_score_row_without(name, run, set(measured["leaked"])) for name, run in named],
        groups=[_group_row(name, trained) for name in GROUPS if any(_is_of(each, name) for each, _ in trained)],
        differences=_difference_rows(compared),
        verdict=compared.verdict,
        ends=[_end_row(name, run) for name, run in ran],
        costs=[_cost_row(name, run) for name, run in ran],
        warnings=[*compared.warnings, *(f"{name}: {text}" for name, run in ran for text in run.facts.stats.warnings)],
        titles=[numbers.metric_title(metric) for metric in METRICS],
    )


def _score_row(name: str, run: FinishedRun) -> list[str]:
    found = [(metric, run.scores.metrics[metric]) for metric in METRICS]
    return [name, *(numbers.with_half_width(metric, one.value, one.ci_low, one.ci_high) for metric, one in found)]


def _score_row_without(name: str, run: FinishedRun, leaked: Set[str]) -> list[str]:
    """Return the mean scores over the dialogues that are not leaked."""
    kept = [scores for id_, scores in run.per_example.items() if id_ not in leaked]
    return [name, *(numbers.score(metric, fmean(scores[metric] for scores in kept)) for metric in METRICS)]


def _anchors(compared: Comparison) -> list[list[str]]:
    """Return the scores of the floor and the ceiling."""
    return [
        [f"{anchor.name} ({kind})", *(numbers.score(metric, anchor.metrics[metric].value) for metric in METRICS)]
        for kind, anchor in (("floor", compared.floor), ("ceiling", compared.ceiling))
        if anchor is not None
    ]


def _group_row(name: str, trained: Sequence[tuple[str, FinishedRun]]) -> list[str]:
    """Return the mean, the lowest and the highest score of a system's seeds."""
    cells = []
    for metric in METRICS:
        values = [100 * run.scores.metrics[metric].value for each, run in trained if _is_of(each, name)]
        cells.append(f"{fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})")
    return [name, *cells]


def _difference_rows(compared: Comparison) -> list[list[str]]:
    """Return what the verdict leaves out: exemplars, all weights against an adapter, external against trained."""
    names = [system.name for system in compared.systems]
    external = [system.name for system in compared.systems if system.kind == "scored"]
    trained = [name for name in names if any(_is_of(name, group) for group in GROUPS)]
    wanted = {frozenset(pair) for pair in itertools.product(trained, external)}
    wanted |= {frozenset(pair) for pair in itertools.pairwise(names) if not {*pair} & {*trained, *external}}
    seeds = [[name.rsplit(" ", 1)[1] for name in trained if _is_of(name, group)] for group in GROUPS]
    wanted |= {frozenset(f"{group}, seed {seed}" for group in GROUPS) for seed in {*seeds[0]} & {*seeds[1]}}
    rows: dict[str, list[str]] = {}
    for row in compared.differences:
        if frozenset((row.a, row.b)) in wanted and row.metric in METRICS:
            rows.setdefault(f"{row.a} {numbers.MINUS} {row.b}", []).append(_difference(row))
    return [[name, *cells] for name, cells in rows.items()]


def _difference(row: Difference) -> str:
    shown = numbers.difference(row.metric, row.difference)
    if row.interval is not None:
        shown = numbers.difference_with_half_width(row.metric, row.difference, *row.interval)
    return f"{shown}, {numbers.p_value(row.p_adjusted)}"


def _item(text: str) -> str:
    """Return a sentence of the report as an item of a list in a block of text."""
    return textwrap.fill(text, 112, initial_indent="- ", subsequent_indent="  ", break_long_words=False)


def _is_of(system: str, group: str) -> bool:
    return system.startswith(f"{group}, seed ")


def _end_row(name: str, run: FinishedRun) -> list[str]:
    """Return how many summaries ended by themselves, in the test and in the validation data, and their tokens."""
    ended = sum(not each.hit_length_cap for each in run.predictions)
    tokens = [each.new_tokens for each in run.predictions if each.new_tokens is not None]
    stopping = run.facts.stats.stopping
    return [
        name,
        f"{ended} of {len(run.predictions)}",
        "–" if stopping is None else f"{stopping.ended} of {stopping.dialogues}",
        f"{fmean(tokens):.0f}" if tokens else "–",
    ]


def _cost_row(name: str, run: FinishedRun) -> list[str]:
    training, prediction = run.facts.training, run.facts.stats
    peaks = [prediction.peak_memory_bytes or 0, 0 if training is None else training.peak_memory_bytes]
    cells = ["–", "–", "–"]
    if training is not None:
        trained = numbers.parameters(training.trainable_parameters, training.total_parameters)
        cells = [trained, f"{training.steps}, best {training.best_step}", numbers.duration(training.seconds)]
    return [name, *cells, numbers.duration(prediction.seconds or 0), numbers.size(max(peaks))]


def _picture(report: Path, into: Path) -> bool:
    """Write a picture of the top of the report; return whether there is one."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        return into.is_file()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return into.is_file()
    width, height = _PICTURE
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = started.new_page(viewport={"width": width, "height": height})
        tab.goto(report.absolute().as_uri())
        tab.screenshot(path=into)
        started.close()
    return True


def _call(command: Sequence[str]) -> None:
    """Run a command that shows its progress on stderr.

    Raises:
        StageError: it failed.
    """
    print(shlex.join(command), file=sys.stderr)
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise StageError(
            f"the command failed (got exit code {done.returncode} of {shlex.join(command)}); see its output above"
        )


if __name__ == "__main__":
    try:
        main()
    except (SummtuneError, OSError) as error:
        sys.exit(f"error: {error}")
