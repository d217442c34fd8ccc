"""Measures SmolLM2-135M-Instruct on DialogSum, prompted and trained, and writes docs/real_model.md from the results.

    python -m scripts.real_model

The model is made from a wheel of pip's registry. The data is DialogSum's validation split (500 pairs, to train on) and
its test split (500 dialogues with three summaries each). Every system is a run of `summtune run`; a call with the same
``--runs`` resumes. Outputs of other systems can be scored next to them: ``--published "GPT-4=gpt4.csv"``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2
import yaml

from scripts.quickstart_seeds import difference, machine
from summtune.base import numbers
from summtune.base.errors import StageError, SummtuneError
from summtune.base.files import read_json, write_json, write_text

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes" / "smollm2-135m"
MEASURED = "measured.json"
METRICS = ("rouge1", "rouge2", "rougeL")
SUMMARIES = ["summary1", "summary2", "summary3"]
_COMPARE = "compare.yaml"


def main() -> None:
    """Run what is missing, and write the page."""
    arguments = _arguments()
    runs: Path = arguments.runs
    if not arguments.page_only:
        measure(arguments, runs)
    write_text(arguments.docs / "real_model.md", page(read_json(runs / MEASURED)))
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
        "--published", action="append", default=[], metavar="NAME=FILE", help="outputs of another system, to be scored"
    )
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="folder that the page goes to")
    parser.add_argument("--page-only", action="store_true", help="run nothing: write the page from --runs")
    arguments = parser.parse_args()
    if arguments.data is None and not arguments.page_only:
        parser.error("no folder of data (got no --data and no SUMMTUNE_TEST_DATA); give one of them")
    return arguments


def measure(arguments: argparse.Namespace, runs: Path) -> None:
    """Run all systems, score the published ones, compare them, and record what the page shows.

    Raises:
        StageError: a command failed.
    """
    runs.mkdir(parents=True, exist_ok=True)
    model, data = runs / "SmolLM2-135M-Instruct", arguments.data / "data" / "dialogsum"
    if not (model / "model.safetensors").is_file():
        _call([sys.executable, str(arguments.data / "tools" / "smollm2.py"), "--out", str(model)])
    write_text(runs / _COMPARE, yaml.safe_dump(comparison(model, data, arguments.seeds), sort_keys=False))
    sets = [part for given in arguments.sets for part in ("--set", given)]
    _call([_summtune(), "run", str(runs / _COMPARE), *sets, "--output-dir", str(runs / "systems")])
    references = ["--references", str(data / "test.jsonl"), "--id-field", "fname"]
    references += [part for name in SUMMARIES for part in ("--summary-field", name)]
    published = [given.partition("=") for given in arguments.published]
    for number, (name, _, file) in enumerate(published):
        folder = ["--name", name, "--output-dir", str(runs / f"published-{number}")]
        _call([_summtune(), "evaluate", file, *references, *folder])
    systems = read_json(runs / "systems" / "plan.json")["systems"]
    scored = [runs / f"published-{number}" for number in range(len(published))]
    everything = [*(Path(one["run_dir"]) for one in systems), *scored]
    compared = _output([_summtune(), "compare", *map(str, everything), "--json"])
    command = shlex.join(["python", "-m", "scripts.real_model", *sys.argv[1:]])
    facts = {
        "command": command,
        "machine": machine(),
        "python": platform.python_version(),
        "systems": [_facts(one["name"], Path(one["run_dir"])) for one in systems],
        "published": [_facts(name, folder) for (name, _, _), folder in zip(published, scored, strict=True)],
        "compared": json.loads(compared),
    }
    write_json(runs / MEASURED, facts)


def comparison(model: Path, data: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the recipe that compares all systems.

    Args:
        model: folder of SmolLM2-135M-Instruct.
        data: folder of DialogSum's splits.
        seeds: of the trained systems.
    """
    train = [{"path": str(data / "validation.jsonl"), "id_field": "fname"}]
    test = [{"path": str(data / "test.jsonl"), "id_field": "fname", "summary_field": SUMMARIES}]
    systems: list[dict[str, Any]] = [
        {"name": "Zero-shot", "recipe": str(RECIPES / "zero_shot.yaml")},
        {"name": "One-shot", "recipe": str(RECIPES / "few_shot.yaml"), "overrides": {"shots": 1}},
        {"name": "Three-shot", "recipe": str(RECIPES / "few_shot.yaml")},
    ]
    for name, recipe in (("LoRA", "lora.yaml"), ("Full fine-tuning", "full_ft.yaml")):
        systems += [
            {"name": f"{name}, seed {seed}", "recipe": str(RECIPES / recipe), "overrides": {"seed": seed}}
            for seed in seeds
        ]
    return {
        "kind": "compare",
        "recipes": systems,
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


def _facts(name: str, run_dir: Path) -> dict[str, Any]:
    """Return what the page shows of a system: scores, costs, and how its summaries end."""
    metrics = read_json(run_dir / "metrics.json")
    found: dict[str, Any] = {"name": name, "metrics": metrics["metrics"], "warnings": metrics.get("warnings", [])}
    for key, file in (("training", "training.json"), ("prediction", "prediction_stats.json")):
        if (run_dir / file).is_file():
            found[key] = read_json(run_dir / file)
    return found


def page(measured: Mapping[str, Any]) -> str:
    """Return docs/real_model.md."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((HERE / "real_model.md.jinja").read_text(encoding="utf-8"))
    systems = [*measured["systems"], *measured["published"]]
    return template.render(
        measured=measured,
        scores=[_score_row(one) for one in systems],
        groups=[_group_row(name, measured["systems"]) for name in ("LoRA", "Full fine-tuning")],
        differences=_difference_rows(measured),
        costs=[_cost_row(one) for one in measured["systems"]],
        titles=[numbers.metric_title(metric) for metric in METRICS],
    )


def _score_row(system: Mapping[str, Any]) -> list[str]:
    scores = [system["metrics"][metric] for metric in METRICS]
    shown = [
        numbers.with_half_width(metric, one["value"], one["ci_low"], one["ci_high"])
        for metric, one in zip(METRICS, scores, strict=True)
    ]
    return [system["name"], *shown]


def _group_row(name: str, systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the mean, the lowest and the highest score of a system's seeds."""
    of_name = [one for one in systems if one["name"].startswith(f"{name}, ")]
    cells = []
    for metric in METRICS:
        values = [100 * one["metrics"][metric]["value"] for one in of_name]
        cells.append(f"{fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})")
    return [name, *cells]


def _difference_rows(measured: Mapping[str, Any]) -> list[list[str]]:
    """Return, for each system but the first, how much better it is than the first, with interval and p-value."""
    first, *others = [one["name"] for one in measured["compared"]["systems"]]
    rows = []
    for name in others:
        found = difference(measured["compared"], name, first, "rouge1")
        low, high = found["ci_low"], found["ci_high"]
        shown = numbers.difference("rouge1", found["difference"])
        rows.append(
            [
                name,
                f"{shown} ({numbers.difference_interval('rouge1', low, high)})",
                numbers.p_value(found["p_adjusted"]),
            ]
        )
    return rows


def _cost_row(system: Mapping[str, Any]) -> list[str]:
    training, prediction = system.get("training"), system["prediction"]
    trained = (
        "–" if training is None else numbers.parameters(training["trainable_parameters"], training["total_parameters"])
    )
    peak = max(prediction["peak_memory_bytes"], 0 if training is None else training["peak_memory_bytes"])
    return [
        system["name"],
        trained,
        "–" if training is None else numbers.duration(training["seconds"]),
        numbers.duration(prediction["seconds"]),
        numbers.size(peak),
    ]


def _summtune() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "summtune")


def _call(command: Sequence[str]) -> None:
    _output(command, stdout=None)


def _output(command: Sequence[str], stdout: int | None = subprocess.PIPE) -> str:
    """Return what a command prints on stdout, if it is a pipe.

    Raises:
        StageError: the command failed.
    """
    print(shlex.join(command), file=sys.stderr)
    done = subprocess.run(command, stdout=stdout, text=True, check=False)
    if done.returncode != 0:
        raise StageError(
            f"the command failed (got exit code {done.returncode} of {shlex.join(command)}); see its output above"
        )
    return done.stdout or ""


if __name__ == "__main__":
    try:
        main()
    except (SummtuneError, OSError) as error:
        sys.exit(f"error: {error}")
