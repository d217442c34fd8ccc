"""Runs the quickstart for several seeds and writes docs/quickstart.md: the results, their uncertainty and their cost.

    python scripts/quickstart_seeds.py

Every score on the page comes from the ``comparison.json`` of a run. Each run is the installed command in a separate
process, and its memory is that of the whole process tree: the sum of the proportional set sizes (PSS, which counts a
page that several processes share once), sampled twice a second.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import psutil
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from summtune.base import numbers
from summtune.base.errors import StageError, SummtuneError
from summtune.base.files import read_json, write_bytes, write_json, write_text
from summtune.data.builtin import dialogues
from summtune.data.builtin.families import Choices, families, pools
from summtune.data.leakage import closest
from summtune.report.chart import INK, PALETTE, PAPER, STYLE, plain_axes

HERE = Path(__file__).resolve().parent
RECIPE = "recipes/quickstart.yaml"
MEASURED = "measured.json"
METRICS = ("rouge1", "rougeL")
STORY = (
    ("One-shot", "Original", "rougeL"),
    ("Few-shot", "One-shot", "rougeL"),
    ("LoRA", "Original", "rouge1"),
    ("Full fine-tuning", "Original", "rouge1"),
    ("Full fine-tuning", "LoRA", "rouge1"),
)
"""The differences that the page shows: a, b (the difference is a minus b), and the metric."""
_SAMPLE_SECONDS = 0.5
_MARKS = "osD^v<>P"
_BAR = 0.42  # of the room of a system
_DOTS_PER_INCH = 200


def main() -> None:
    """Run the seeds (or use finished runs), and write the page and its chart."""
    arguments = _arguments()
    runs: Path = arguments.runs or arguments.page_of
    if arguments.page_of is None:
        measure(arguments.seeds, arguments.sets, runs)
    measured = read_json(runs / MEASURED)
    comparisons = {run["seed"]: read_json(runs / run["folder"] / "comparison.json") for run in measured["runs"]}
    versions = read_json(runs / measured["runs"][0]["folder"] / "plan.json")["versions"]
    write_bytes(arguments.docs / "quickstart_seeds.png", seeds_png(comparisons))
    write_text(arguments.docs / "quickstart.md", page(comparisons, measured, versions))
    print(arguments.docs / "quickstart.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="folder that the page goes to")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="as summtune's")
    where = parser.add_mutually_exclusive_group()
    now = time.strftime("%Y%m%d-%H%M%S")
    where.add_argument("--runs", type=Path, help=f"new folder for the runs; default: outputs/quickstart-seeds-{now}")
    where.add_argument("--page-of", type=Path, metavar="RUNS", help="run nothing: write the page of an earlier call")
    arguments = parser.parse_args()
    if arguments.page_of is None and arguments.runs is None:
        arguments.runs = HERE.parent / "outputs" / f"quickstart-seeds-{now}"
    return arguments


def measure(seeds: Sequence[int], sets: Sequence[str], runs: Path) -> None:
    """Run the quickstart for each seed below ``runs``, and record time and memory there.

    Raises:
        StageError: a run failed.
        OSError: ``runs`` exists: time and memory must be those of complete runs.
    """
    runs.mkdir(parents=True)
    rows = []
    for seed in seeds:
        print(f"seed {seed}", file=sys.stderr)
        folder = f"seed-{seed}"
        command = [
            *(str(Path(sysconfig.get_path("scripts")) / "summtune"), "run", str(HERE.parent / RECIPE)),
            *("--set", f"overrides.seed={seed}", *(part for given in sets for part in ("--set", given))),
            *("--output-dir", str(runs / folder)),
        ]
        seconds, peak_bytes = run_measured(command)
        rows.append({"seed": seed, "folder": folder, "seconds": round(seconds, 1), "peak_bytes": peak_bytes})
    facts = {"command": shlex.join(["python", "scripts/quickstart_seeds.py", *sys.argv[1:]]), "sets": list(sets)}
    write_json(runs / MEASURED, facts | {"machine": machine(), "python": platform.python_version(), "runs": rows})


def run_measured(command: Sequence[str]) -> tuple[float, int]:
    """Return the wall time of a command in seconds, and the peak memory of it and all that it starts, in bytes.

    Raises:
        StageError: the command failed.
    """
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(command) as process:
        while True:
            peak = max(peak, tree_memory(process.pid))
            try:
                code = process.wait(_SAMPLE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
    seconds = time.perf_counter() - started
    if code != 0:
        raise StageError(f"the command failed (got exit code {code} of {shlex.join(command)}); see its output above")
    return seconds, peak


def tree_memory(pid: int) -> int:
    """Return the sum of the proportional set sizes of a process and all its descendants, in bytes (Linux)."""
    total, family = 0, []
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            total += process.memory_full_info().pss
    return total


def machine() -> str:
    """Return the cores that this process may use, and the CPU's model."""
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} core{'' if cores == 1 else 's'} of {models[0] if models else platform.machine()}"


def page(comparisons: Mapping[int, Mapping[str, Any]], measured: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return docs/quickstart.md.

    Args:
        comparisons: ``comparison.json`` of each seed.
        measured: ``command``, ``sets``, ``machine``, ``python``, and ``runs`` with ``seed``, ``seconds`` and
            ``peak_bytes``.
        versions: of the packages, by name.
    """
    first = next(iter(comparisons.values()))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of names that are ours
    )
    return environment.get_template("quickstart_seeds.md.jinja").render(
        seeds=list(comparisons),
        metrics=[numbers.metric_title(metric) for metric in METRICS],
        dialogues=first["n"],
        confidence=numbers.percent(first["protocol"]["bootstrap"]["confidence"]),
        permutations=numbers.count(first["protocol"]["permutations"]),
        scores=score_rows(comparisons),
        differences=difference_rows(comparisons),
        trained=trained(first, "LoRA"),
        model_size=numbers.count(first["systems"][0]["total_parameters"]),
        costs=[
            (run["seed"], numbers.duration(run["seconds"]), numbers.size(run["peak_bytes"])) for run in measured["runs"]
        ],
        measured=measured,
        versions=versions,
        held_out=held_out(),
        nearest=nearest(),
    )


def held_out() -> dict[str, Any]:
    """Return what only the test split of the built-in dialogues has: its scenarios, and counts of the rest."""
    shared = [family for family in families() if not family.held_out]
    slots = [choices for family in shared for choices in family.slots.values() if isinstance(choices, Choices)]
    beats = [choices for family in shared for _, choices in family.beats]
    beats += [choices for family in shared for outcome in family.outcomes for _, choices in outcome.beats]
    phrases = [pool for name, pool in pools().items() if name not in ("name", "city", "day")]
    return {
        "scenarios": [f"*{family.name}*" for family in families() if family.held_out],
        "names": len(pools()["name"].held_out),
        "cities": len(pools()["city"].held_out),
        "things": sum(len(choices.held_out) for choices in slots),
        "phrasings": sum(len(each.held_out) for each in [*beats, *phrases, *(family.opener for family in shared)]),
    }


def nearest() -> dict[str, str]:
    """Return the share of a test dialogue's 5-word sequences that the nearest train or validation dialogue has."""
    training = [record.dialogue for split in ("train", "validation") for record in dialogues(split)]
    found = sorted(each.similarity for each in closest([record.dialogue for record in dialogues("test")], training))
    return {"median": f"{100 * found[len(found) // 2]:.0f} %", "highest": f"{100 * found[-1]:.0f} %"}


def score_rows(comparisons: Mapping[int, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row for each system: its name, then each metric's score with its interval, seed by seed."""
    names = [system["name"] for system in next(iter(comparisons.values()))["systems"]]
    return [
        (
            name,
            *(
                numbers.with_half_width(metric, estimate["value"], estimate["ci_low"], estimate["ci_high"])
                for metric in METRICS
                for estimate in (_system(comparison, name)["metrics"][metric] for comparison in comparisons.values())
            ),
        )
        for name in names
    ]


def difference_rows(comparisons: Mapping[int, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row for each difference of the story: what it is, then its size, interval and p-value, seed by seed."""
    rows = []
    for a, b, metric in STORY:
        found = [difference(comparison, a, b, metric) for comparison in comparisons.values()]
        cells = [
            f"{numbers.difference(metric, row['difference'])} "
            f"({numbers.difference_interval(metric, row['ci_low'], row['ci_high'])}), "
            f"{numbers.p_value(row['p_adjusted'])}"
            for row in found
        ]
        rows.append((f"{a} {numbers.MINUS} {b}, {numbers.metric_title(metric)}", *cells))
    return rows


def difference(comparison: Mapping[str, Any], a: str, b: str, metric: str) -> dict[str, Any]:
    """Return the row of ``differences`` for ``a`` minus ``b``; a comparison holds each pair once, in its own order."""
    found: dict[str, Any] = next(
        row for row in comparison["differences"] if {row["a"], row["b"]} == {a, b} and row["metric"] == metric
    )
    if found["a"] == a:
        return found
    turned = {"a": a, "b": b, "difference": -found["difference"]}
    if found["ci_low"] is not None:
        turned |= {"ci_low": -found["ci_high"], "ci_high": -found["ci_low"]}
    return found | turned


def trained(comparison: Mapping[str, Any], name: str) -> str:
    """Return the trained weights of a system, all of its weights, and the share."""
    system = _system(comparison, name)
    part, whole = system["trainable_parameters"], system["total_parameters"]
    return f"{numbers.count(part)} of {numbers.count(whole)} weights ({numbers.share(part, whole)})"


def seeds_png(comparisons: Mapping[int, Mapping[str, Any]]) -> bytes:
    """Return the chart as a PNG: a bar for each system and metric, the mean over the seeds, and a mark for each seed.

    The same scores give the same bytes.
    """
    names = [system["name"] for system in next(iter(comparisons.values()))["systems"]]
    with matplotlib.rc_context(STYLE | {"figure.facecolor": PAPER}):
        figure = Figure(figsize=(8.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
        bars: list[Any] = []
        marks: list[Any] = []
        for at, metric in enumerate(METRICS):
            places = np.arange(len(names)) + (at - (len(METRICS) - 1) / 2) * _BAR
            seeds = [[_system(each, name)["metrics"][metric] for name in names] for each in comparisons.values()]
            means = np.mean([[100 * one["value"] for one in estimates] for estimates in seeds], axis=0)
            bars.append(axes.bar(places, means, _BAR * 0.94, color=_paler(PALETTE[at])))
            marks = [
                _draw_seed(
                    axes, places + (number - (len(seeds) - 1) / 2) * _BAR / (len(seeds) + 0.4), estimates, number
                )
                for number, estimates in enumerate(seeds)
            ]
        axes.set_xticks(range(len(names)), names)
        axes.set_ylabel("F-measure × 100")
        plain_axes(axes, "y")
        axes.set_ylim(bottom=0)
        titles = [f"{numbers.metric_title(metric)}, mean" for metric in METRICS] + [f"seed {n}" for n in comparisons]
        figure.legend([*bars, *marks], titles, loc="outside upper left", ncols=len(titles), frameon=False)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
        return content.getvalue()


def _draw_seed(axes: Axes, places: Any, estimates: Sequence[Mapping[str, Any]], number: int) -> Any:
    """Draw one seed's scores of one metric with their intervals, and return the handle for the legend."""
    values = np.array([100 * one["value"] for one in estimates])
    lows, highs = (
        np.array([100 * (one["value"] if one[end] is None else one[end]) for one in estimates])
        for end in ("ci_low", "ci_high")
    )
    # A percentile interval may exclude its own mean, if only in the last bit; matplotlib rejects negative lengths.
    errors = np.maximum(0.0, [values - lows, highs - values])
    return axes.errorbar(
        places, values, yerr=errors, fmt=_MARKS[number % len(_MARKS)], color=INK, markerfacecolor=PAPER,
        markersize=4.5, markeredgewidth=1.0, elinewidth=0.9,
    )  # fmt: skip


def _paler(colour: str) -> Any:
    """Return the colour mixed with white, so that the marks stand out and no grid shines through."""
    return 0.55 * np.array(to_rgb(colour)) + 0.45


def _system(comparison: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(system for system in comparison["systems"] if system["name"] == name)
    return found


if __name__ == "__main__":
    try:
        main()
    except (SummtuneError, OSError) as error:
        sys.exit(f"error: {error}")
