"""The content of a report, as texts that the page and the Markdown only lay out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from summtune.base import numbers
from summtune.base.visible import one_line
from summtune.report.break_even import BreakEven, break_even
from summtune.report.cost_chart import cost_table, use_table
from summtune.report.details import Details, comparison_details, hours_title, run_details, system_description
from summtune.report.diagnostics import Diagnostics, diagnostics
from summtune.report.scored_dialogues import DialogueScores, ScoredDialogue, gather_dialogues
from summtune.report.table import Table, difference_table, score_table
from summtune.runs.comparison import ComparedSystem, ComparisonProtocol
from summtune.runs.finished import FinishedComparison, FinishedRun
from summtune.runs.metrics import Anchor, Protocol, RunMetrics

USE_NOTE = (
    "Training is paid for once, all else is per 1,000 dialogues, at the prices in the recipes; without a price there "
    "is no money. Dialogues that share a prompt are asked once. Hours of generation leave out loading the model. A "
    "dash means unknown."
)


@dataclass(frozen=True)
class Contents:
    """The content of a report; see the fields' types.

    ``use`` and ``break_even`` are of the money, tokens and hours of using the systems of a comparison;
    ``floor`` and ``ceiling`` are the scores of lead-3 and of people, as in ``metrics.json``; ``comparison`` is None for
    a single run; ``pair`` contains the indices of the two systems that the reader compares first.
    """

    title: str
    subtitle: str
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    systems: tuple[ComparedSystem, ...]
    floor: Anchor | None
    ceiling: Anchor | None
    scores: Table
    by_references: Table | None
    differences: Table | None
    costs: Table | None
    use: Table | None
    break_even: BreakEven | None
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


def run_contents(run: FinishedRun) -> Contents:
    """Return the content of the report of one run."""
    scores = run.scores
    dialogues, dialogue_scores = gather_dialogues([run.name], [run])
    return Contents(
        title=run.name,
        subtitle=f"{system_description(run)}, scored on {numbers.count(scores.n)} dialogues",
        verdict=(),
        warnings=(*_seldom_stops(run), *scores.diagnostics.warnings, *stage_warnings(run)),
        systems=(run.compared(),),
        floor=scores.floor,
        ceiling=scores.ceiling,
        scores=_metric_table(scores),
        by_references=_reference_table([run.compared()]),
        differences=None,
        costs=None,
        use=None,
        break_even=None,
        hours=hours_title([run]),
        protocol=protocol_sentence(scores.protocol, scores.metrics),
        diagnostics=diagnostics([run.name], [scores.diagnostics]),
        comparison=None,
        details=(run_details(run.name, run),),
        scored_dialogues=dialogues,
        dialogue_scores=dialogue_scores,
        pair=(0, 0),
    )


def stage_warnings(run: FinishedRun) -> tuple[str, ...]:
    """Return the warnings of training and prediction."""
    training = run.facts.training
    return (*(training.warnings if training is not None else ()), *run.facts.stats.warnings)


def _seldom_stops(run: FinishedRun) -> tuple[str, ...]:
    """Return the warning that a trained model does not stop by itself, if so: it explains most of the others."""
    warning = run.stopping.warning if run.stopping is not None else None
    return () if warning is None else (warning,)


def _named_stage_warnings(names: Sequence[str], runs: Sequence[FinishedRun]) -> Iterator[str]:
    """Yield the warnings of several runs, once each, with the names of the systems that they concern."""
    concerned: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        for warning in (*_seldom_stops(run), *stage_warnings(run)):
            concerned.setdefault(warning, []).append(name)
    for warning, named in concerned.items():
        yield f"{numbers.listed(named)}: {warning}"


def comparison_contents(files: FinishedComparison) -> Contents:
    """Return the content of the report of a comparison."""
    comparison = files.comparison
    systems = comparison.systems
    names = [system.name for system in systems]
    floor, ceiling = comparison.floor, comparison.ceiling
    dialogues, dialogue_scores = gather_dialogues(names, files.runs)
    base = 0 if comparison.baseline is None else names.index(comparison.baseline)
    hours = hours_title(files.runs)
    return Contents(
        title=f"{files.name}: {' vs '.join(names) if len(names) < 4 else f'{len(names)} systems compared'}",
        subtitle=f"{len(names)} systems on the same {numbers.count(comparison.n)} dialogues",
        verdict=comparison.verdict,
        warnings=(*comparison.warnings, *_named_stage_warnings(names, files.runs)),
        systems=systems,
        floor=floor,
        ceiling=ceiling,
        scores=score_table(systems, floor, ceiling),
        by_references=_reference_table(systems),
        differences=difference_table(comparison),
        costs=cost_table(systems, hours=hours),
        use=use_table(systems, hours=hours),
        break_even=break_even(systems, hours.replace("Device", "device")),
        hours=hours,
        protocol=protocol_sentence(comparison.protocol, [name for system in systems for name in system.metrics]),
        diagnostics=diagnostics(
            names, [run.scores.diagnostics for run in files.runs], comparison.diagnostics.checks.identical_outputs
        ),
        comparison=comparison_details(files),
        details=tuple(run_details(name, run) for name, run in zip(names, files.runs, strict=True)),
        scored_dialogues=dialogues,
        dialogue_scores=dialogue_scores,
        pair=(_rival(systems, base), base),
    )


def protocol_sentence(protocol: Protocol, metrics: Iterable[str]) -> str:
    """Return a description of how the scores were computed, in a few sentences.

    Args:
        protocol: from ``metrics.json`` or ``comparison.json``.
        metrics: names of the scores that are shown.
    """
    bootstrap = protocol.bootstrap
    stemmer = "with" if protocol.stemmer else "without"
    words = {
        "unicode": ", words of any script",
        "character": ", words and, without spaces, characters of any script",
    }.get(protocol.tokenizer, "")
    references = {"mean": "the mean over a dialogue's references", "max": "the best of a dialogue's references"}
    splitting = protocol.sentence_splitting
    sentences = []
    if any(map(numbers.is_fraction, metrics)):
        sentences.append(
            f"ROUGE F-measure × 100 by {protocol.implementation} {protocol.version}{words}, "
            f"{stemmer} Porter stemmer, "
            f"{references[protocol.references]}, sentences of ROUGE-Lsum split "
            f"{'at line ends' if splitting == 'newline' else f'by {splitting}'}"
        )
    for name, made in protocol.extra_metrics.items():
        arguments = ", ".join(f"{key} {value}" for key, value in made.arguments.items())
        script = "" if made.script is None else f", script {made.script}"
        given = f" with {arguments}" if arguments else ""
        sentences.append(f"{name} by {made.implementation} {made.version}{script}{given}")
    level = numbers.percent(bootstrap.confidence)
    intervals = (
        f"{level} intervals by percentile bootstrap over dialogues "
        f"({numbers.count(bootstrap.samples)} resamples, seed {bootstrap.seed})"
    )
    if isinstance(protocol, ComparisonProtocol):
        flips = numbers.count(protocol.permutations)
        intervals += (
            f". Differences: p-values by paired sign-flip permutation ({flips} flips), adjusted for all rows by "
            f"step-down max-T, and {level} intervals for all rows at once from the same flips"
        )
    return f"{'. '.join([*sentences, intervals])}."


def _metric_table(scores: RunMetrics) -> Table:
    """Return a run's metrics as rows, with the floor and the ceiling as columns if there are any."""
    level = numbers.percent(scores.protocol.bootstrap.confidence)
    anchors = [
        (f"{one_line(anchor.name).capitalize()} ({kind})", anchor.metrics)
        for kind, anchor in (("floor", scores.floor), ("ceiling", scores.ceiling))
        if anchor is not None
    ]
    rows = tuple(
        (
            numbers.metric_title(name),
            numbers.score(name, each.value),
            numbers.interval(name, each.ci_low, each.ci_high),
            *(numbers.score(name, values[name].value) if name in values else "–" for _, values in anchors),
        )
        for name, each in scores.metrics.items()
    )
    return Table(("Metric", "Score", f"{level} interval", *(title for title, _ in anchors)), rows)


def _reference_table(systems: Sequence[ComparedSystem]) -> Table | None:
    """Return systems × metrics by reference, with mean and best; None if each dialogue has one reference."""
    rows = []
    for system in systems:
        for name, found in system.by_references.items():
            if found.each is None or len(found.each) > 1:
                cells = (numbers.score(name, score) for score in (found.mean, found.max, *(found.each or ())))
                rows.append((one_line(system.name), numbers.metric_title(name), *cells))
    if not rows:
        return None
    most = max(len(row) for row in rows)
    titles = ("System", "Metric", "Mean", "Best", *(f"Reference {place}" for place in range(1, most - 3)))
    return Table(titles, tuple(row + ("–",) * (most - len(row)) for row in rows), text_columns=2)


def _rival(systems: Sequence[ComparedSystem], base: int) -> int:
    """Return the index of the best system other than ``base``, by the first metric that all have."""
    others = [place for place in range(len(systems)) if place != base]
    shared = (name for name in systems[0].metrics if all(name in system.metrics for system in systems))
    metric = next(shared, None)
    if metric is None:
        return others[0]
    best = min if numbers.is_lower_better(metric) else max
    return best(others, key=lambda place: systems[place].metrics[metric].value)
