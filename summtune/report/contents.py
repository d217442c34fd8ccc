"""The content of a report, as texts that the page and the Markdown only lay out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from summtune.base import numbers
from summtune.base.visible import one_line
from summtune.report.cost_chart import cost_table
from summtune.report.details import Details, comparison_details, hours_title, run_details, system_description
from summtune.report.diagnostics import Diagnostics, diagnostics
from summtune.report.run_files import ComparisonFiles, RunFiles
from summtune.report.scored_dialogues import DialogueScores, ScoredDialogue, gather_dialogues
from summtune.report.table import Table, difference_table, score_table


@dataclass(frozen=True)
class Contents:
    """The content of a report; see the fields' types.

    ``floor`` and ``ceiling`` are the scores of lead-3 and of people, as in ``metrics.json``; ``comparison`` is None for
    a single run; ``pair`` contains the indices of the two systems that the reader compares first.
    """

    title: str
    subtitle: str
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    systems: tuple[Mapping[str, Any], ...]
    floor: Mapping[str, Any] | None
    ceiling: Mapping[str, Any] | None
    scores: Table
    by_references: Table | None
    differences: Table | None
    costs: Table | None
    hours: str
    protocol: str
    diagnostics: Diagnostics
    comparison: Details | None
    details: tuple[Details, ...]
    scored_dialogues: tuple[ScoredDialogue, ...]
    dialogue_scores: DialogueScores
    pair: tuple[int, int]

    @property
    def dialogue_count(self) -> int:
        """The number of dialogues."""
        return len(self.scored_dialogues)


def run_contents(run: RunFiles) -> Contents:
    """Return the content of the report of one run."""
    scored, scores = gather_dialogues([run.name], [run])
    return Contents(
        title=run.name,
        subtitle=f"{system_description(run)}, scored on {numbers.count(run.metrics['n'])} dialogues",
        verdict=(),
        warnings=(*run.metrics["diagnostics"].get("warnings", ()), *stage_warnings(run)),
        systems=(run.as_system(),),
        floor=run.metrics.get("floor"),
        ceiling=run.metrics.get("ceiling"),
        scores=_metric_table(run.metrics),
        by_references=_reference_table([run.as_system() | {"by_references": run.metrics.get("by_references")}]),
        differences=None,
        costs=None,
        hours=hours_title([run]),
        protocol=protocol_sentence(run.metrics["protocol"], run.metrics["metrics"]),
        diagnostics=diagnostics([run.name], [run.metrics]),
        comparison=None,
        details=(run_details(run.name, run),),
        scored_dialogues=scored,
        dialogue_scores=scores,
        pair=(0, 0),
    )


def stage_warnings(run: RunFiles) -> tuple[str, ...]:
    """Return the warnings of training and prediction."""
    return (*(run.training or {}).get("warnings", ()), *run.stats.get("warnings", ()))


def _named_stage_warnings(names: Sequence[str], runs: Sequence[RunFiles]) -> Iterator[str]:
    """Yield the warnings of several runs, once each, with the names of the systems that they concern."""
    concerned: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        for warning in stage_warnings(run):
            concerned.setdefault(warning, []).append(name)
    for warning, named in concerned.items():
        yield f"{', '.join(named)}: {warning}"


def comparison_contents(files: ComparisonFiles) -> Contents:
    """Return the content of the report of a comparison."""
    comparison = files.comparison
    systems = comparison["systems"]
    names = [system["name"] for system in systems]
    floor, ceiling = comparison.get("floor"), comparison.get("ceiling")
    scored, scores = gather_dialogues(names, files.runs)
    base = names.index(comparison["baseline"]) if comparison["baseline"] else 0
    hours = hours_title(files.runs)
    return Contents(
        title=f"{files.name}: {' vs '.join(names) if len(names) < 4 else f'{len(names)} systems compared'}",
        subtitle=f"{len(names)} systems on the same {numbers.count(comparison['n'])} dialogues",
        verdict=tuple(comparison["verdict"]),
        warnings=(*comparison["warnings"], *_named_stage_warnings(names, files.runs)),
        systems=tuple(systems),
        floor=floor,
        ceiling=ceiling,
        scores=score_table(systems, floor, ceiling),
        by_references=_reference_table(systems),
        differences=difference_table(comparison),
        costs=cost_table(systems, hours=hours),
        hours=hours,
        protocol=protocol_sentence(comparison["protocol"], [name for system in systems for name in system["metrics"]]),
        diagnostics=diagnostics(names, [run.metrics for run in files.runs], comparison.get("diagnostics")),
        comparison=comparison_details(files),
        details=tuple(run_details(name, run) for name, run in zip(names, files.runs, strict=True)),
        scored_dialogues=scored,
        dialogue_scores=scores,
        pair=(_rival(systems, base), base),
    )


def protocol_sentence(protocol: Mapping[str, Any], metrics: Iterable[str]) -> str:
    """Return a description of how the scores were computed, in a few sentences.

    Args:
        protocol: from ``metrics.json`` or ``comparison.json``.
        metrics: names of the scores that are shown.
    """
    bootstrap = protocol["bootstrap"]
    stemmer = "with" if protocol["stemmer"] else "without"
    words = {
        "unicode": ", words of any script",
        "character": ", words and, without spaces, characters of any script",
    }.get(protocol.get("tokenizer", "rouge"), "")
    references = {"mean": "the mean over a dialogue's references", "max": "the best of a dialogue's references"}
    splitting = protocol["sentence_splitting"]
    sentences = []
    if any(map(numbers.is_fraction, metrics)):
        sentences.append(
            f"ROUGE F-measure × 100 by {protocol['implementation']} {protocol['version']}{words}, "
            f"{stemmer} Porter stemmer, "
            f"{references[protocol['references']]}, sentences of ROUGE-Lsum split "
            f"{'at line ends' if splitting == 'newline' else f'by {splitting}'}"
        )
    for name, made in protocol.get("extra_metrics", {}).items():
        arguments = ", ".join(f"{key} {value}" for key, value in made.get("arguments", {}).items())
        script = f", script {made['script']}" if "script" in made else ""
        given = f" with {arguments}" if arguments else ""
        sentences.append(f"{name} by {made['implementation']} {made['version']}{script}{given}")
    intervals = (
        f"{numbers.percent(bootstrap['confidence'])} intervals by percentile bootstrap over dialogues "
        f"({numbers.count(bootstrap['samples'])} resamples, seed {bootstrap['seed']})"
    )
    if "permutations" in protocol:
        flips = numbers.count(protocol["permutations"])
        intervals += (
            f"; p-values by paired sign-flip permutation ({flips} flips), with Holm's correction for their number"
        )
    return f"{'. '.join([*sentences, intervals])}."


def _metric_table(metrics: Mapping[str, Any]) -> Table:
    """Return a run's metrics as rows, with the floor and the ceiling as columns if there are any."""
    level = numbers.percent(metrics["protocol"]["bootstrap"]["confidence"])
    anchors = [
        (f"{one_line(metrics[kind]['name']).capitalize()} ({kind})", metrics[kind]["metrics"])
        for kind in ("floor", "ceiling")
        if metrics.get(kind)
    ]
    rows = tuple(
        (
            numbers.metric_title(name),
            numbers.score(name, each["value"]),
            numbers.interval(name, each["ci_low"], each["ci_high"]),
            *(numbers.score(name, scores[name]["value"]) if name in scores else "–" for _, scores in anchors),
        )
        for name, each in metrics["metrics"].items()
    )
    return Table(("Metric", "Score", f"{level} interval", *(title for title, _ in anchors)), rows)


def _reference_table(systems: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return systems × metrics by reference, with mean and best; None if each dialogue has one reference."""
    rows = []
    for system in systems:
        for name, each in (system.get("by_references") or {}).items():
            scores = [each["mean"], each["max"], *(each.get("each") or ())]
            if each.get("each") is None or len(each["each"]) > 1:
                cells = (numbers.score(name, score) for score in scores)
                rows.append((one_line(system["name"]), numbers.metric_title(name), *cells))
    if not rows:
        return None
    most = max(len(row) for row in rows)
    titles = ("System", "Metric", "Mean", "Best", *(f"Reference {place}" for place in range(1, most - 3)))
    return Table(titles, tuple(row + ("–",) * (most - len(row)) for row in rows), text_columns=2)


def _rival(systems: Sequence[Mapping[str, Any]], base: int) -> int:
    """Return the index of the best system other than ``base``, by the first metric that all have."""
    others = [place for place in range(len(systems)) if place != base]
    shared = (name for name in systems[0]["metrics"] if all(name in system["metrics"] for system in systems))
    metric = next(shared, None)
    if metric is None:
        return others[0]
    best = min if numbers.is_lower_better(metric) else max
    return best(others, key=lambda place: systems[place]["metrics"][metric]["value"])
