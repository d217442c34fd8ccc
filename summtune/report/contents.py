"""Decides what a report says, in finished texts that the page and the markdown only lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from summtune.records import Prediction
from summtune.report import numbers
from summtune.report.recipe_text import recipe_text
from summtune.report.run_files import ComparisonFiles, RunFiles
from summtune.report.table import Table, difference_table, score_table

SHOWN_DIALOGUES = 200
"""Dialogues that a page holds: enough to read, few enough to open on a phone."""


@dataclass(frozen=True)
class Output:
    """What one system wrote for a dialogue.

    Args:
        system: its name.
        index: its place among the systems, which is its colour.
        text: the summary.
        score: the first metric's score as text, empty where that metric gives none a dialogue.
        notes: what went wrong with this one: ``cut at max_new_tokens``, ``dialogue truncated``.
    """

    system: str
    index: int
    text: str
    score: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """One dialogue of the reader; ``order`` is the number by which the page sorts, None where there is none."""

    id: str
    dialogue: str
    references: tuple[str, ...]
    outputs: tuple[Output, ...]
    order: float | None


@dataclass(frozen=True)
class Details:
    """How one system came to be.

    Args:
        name: the system.
        facts: pairs of a title and a text.
        versions: by package.
        recipe: the resolved recipe as YAML.
        train_log: rows of ``train_log.jsonl``.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    versions: Mapping[str, str]
    recipe: str
    train_log: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Contents:
    """A report; see the fields' types. ``order_title`` says what the readings' ``order`` is."""

    title: str
    subtitle: str
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    systems: tuple[Mapping[str, Any], ...]
    scores: Table
    differences: Table | None
    protocol: str
    details: tuple[Details, ...]
    readings: tuple[Reading, ...]
    dialogues: int
    order_title: str


def run_contents(run: RunFiles) -> Contents:
    """Return what the report of one run says."""
    metric = _reading_metric([run])
    return Contents(
        title=run.name,
        subtitle=f"{_deed(run)}, scored on {numbers.count(run.metrics['n'])} dialogues",
        verdict=(),
        warnings=tuple(run.metrics["diagnostics"]["warnings"]),
        systems=(run.as_system(),),
        scores=_metric_table(run),
        differences=None,
        protocol=protocol_sentence(run.metrics["protocol"]),
        details=(_details(run.name, run),),
        readings=_readings([run.name], [run], metric, None),
        dialogues=len(run.predictions),
        order_title=numbers.metric_title(metric) if metric else "",
    )


def comparison_contents(files: ComparisonFiles) -> Contents:
    """Return what the report of a comparison says."""
    comparison = files.comparison
    names = [system["name"] for system in comparison["systems"]]
    metric = _reading_metric(files.runs)
    base = names.index(comparison["baseline"]) if comparison["baseline"] else 0
    last = max(index for index in range(len(names)) if index != base)
    return Contents(
        title=f"{files.name}: {' vs '.join(names) if len(names) < 4 else f'{len(names)} systems compared'}",
        subtitle=f"{len(names)} systems on the same {numbers.count(comparison['n'])} dialogues",
        verdict=tuple(comparison["verdict"]),
        warnings=tuple(comparison["warnings"]),
        systems=tuple(comparison["systems"]),
        scores=score_table(comparison["systems"]),
        differences=difference_table(comparison),
        protocol=protocol_sentence(comparison["protocol"]),
        details=tuple(_details(name, run) for name, run in zip(names, files.runs, strict=True)),
        readings=_readings(names, files.runs, metric, (last, base)),
        dialogues=len(files.runs[0].predictions),
        order_title=f"{numbers.metric_title(metric)} of {names[last]} − {names[base]}" if metric else "",
    )


def protocol_sentence(protocol: Mapping[str, Any]) -> str:
    """Return how the scores were made, in one or two sentences."""
    bootstrap = protocol["bootstrap"]
    stemmer = "with" if protocol["stemmer"] else "without"
    references = {"mean": "the mean over a dialogue's references", "max": "the best of a dialogue's references"}
    text = (
        f"ROUGE F-measure × 100 by {protocol['implementation']} {protocol['version']}, {stemmer} Porter stemmer, "
        f"{references[protocol['references']]}, sentences of ROUGE-Lsum split at: {protocol['sentence_splitting']}. "
        f"{numbers.percent(bootstrap['confidence'])} intervals by percentile bootstrap over dialogues "
        f"({numbers.count(bootstrap['samples'])} resamples, seed {bootstrap['seed']})"
    )
    if "permutations" not in protocol:
        return f"{text}."
    flips = numbers.count(protocol["permutations"])
    return f"{text}; p-values by paired sign-flip permutation ({flips} flips), with Holm's correction for their number."


def _metric_table(run: RunFiles) -> Table:
    level = numbers.percent(run.metrics["protocol"]["bootstrap"]["confidence"])
    rows = tuple(
        (
            numbers.metric_title(name),
            numbers.score(name, each["value"]),
            numbers.interval(name, each["ci_low"], each["ci_high"]),
        )
        for name, each in run.metrics["metrics"].items()
    )
    return Table(("Metric", "Score", f"{level} interval"), rows)


def _deed(run: RunFiles) -> str:
    if run.plan["kind"] == "scored":
        return "Outputs from elsewhere"
    if run.plan["kind"] == "prompt":
        return f"{run.plan['recipe'].get('base_model', 'A model')}, prompted"
    how = run.plan["recipe"].get("adapter") or "all weights"
    return f"{run.plan['recipe'].get('base_model', 'A model')}, fine-tuned ({how})"


def _details(name: str, run: RunFiles) -> Details:
    return Details(
        name=name,
        facts=tuple(_facts(run)),
        versions=run.plan.get("versions", {}),
        recipe=recipe_text(run.plan["recipe"]),
        train_log=run.train_log,
    )


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    """Return pairs of a title and a text, without those that this run has nothing to say of."""
    stats, training, diagnostics = run.stats, run.training or {}, run.metrics["diagnostics"]
    batch = run.plan.get("batch") or {}
    facts: list[tuple[str, str | None]] = [
        ("Kind", _deed(run)),
        ("Parameters", _with(numbers.count, stats["total_parameters"])),
        ("Trainable parameters", _trained(stats) if run.plan["kind"] == "train" else None),
        ("Batch", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in batch.items() if value) or None),
        ("Optimizer steps", _with(numbers.count, training.get("steps"))),
        ("Epochs", _with(numbers.decimal, training.get("epochs"))),
        ("Training loss", _with(numbers.decimal, training.get("train_loss"))),
        ("Validation loss", _with(numbers.decimal, training.get("eval_loss"))),
        ("Best step", _with(numbers.count, training.get("best_step"))),
        ("Training time", _with(numbers.duration, training.get("seconds"))),
        ("Peak memory a device", _with(numbers.size, training.get("peak_memory_bytes"))),
        ("Precision", training.get("precision")),
        ("Prediction time", _with(numbers.duration, stats.get("seconds"))),
        ("Exemplars in the prompts", _first_ids(stats.get("exemplars") or [])),
        ("Mean prompt tokens", _with(numbers.decimal, diagnostics["means"]["prompt_tokens"])),
        ("Mean new tokens", _with(numbers.decimal, diagnostics["means"]["new_tokens"])),
        ("Mean words of a prediction", _with(numbers.decimal, diagnostics["means"]["prediction_words"])),
        ("Mean words of a reference", _with(numbers.decimal, diagnostics["means"]["reference_words"])),
        ("Identity", run.plan.get("identity")),
        ("Git commit", run.plan.get("git_commit")),
    ]
    return [(title, text) for title, text in facts if text is not None]


def _trained(stats: Mapping[str, Any]) -> str:
    return numbers.parameters(stats["trainable_parameters"], stats["total_parameters"])


def _first_ids(ids: Sequence[str], shown: int = 8) -> str | None:
    """Return the first ids: drawn or chosen by similarity, every dialogue has its own exemplars."""
    more = f" and {numbers.count(len(ids) - shown)} more" if len(ids) > shown else ""
    return f"{', '.join(ids[:shown])}{more}" if ids else None


def _with(format_: Any, value: Any) -> str | None:
    return None if value is None else format_(value)


def _reading_metric(runs: Sequence[RunFiles]) -> str | None:
    """Return the first metric that every run has for every dialogue."""
    first = next(iter(runs[0].per_example.values()))
    shared = (name for name in first if all(name in next(iter(run.per_example.values())) for run in runs))
    return next(shared, None)


def _readings(
    names: Sequence[str], runs: Sequence[RunFiles], metric: str | None, order: tuple[int, int] | None
) -> tuple[Reading, ...]:
    """Return the first dialogues with every system's output; ``order`` holds the two systems whose gap sorts them."""
    by_id = [{prediction.id: prediction for prediction in run.predictions} for run in runs]
    readings = []
    for first in runs[0].predictions[:SHOWN_DIALOGUES]:
        scores = [run.per_example[first.id][metric] if metric else None for run in runs]
        outputs = tuple(
            Output(
                system=name,
                index=index,
                text=predictions[first.id].prediction,
                score=numbers.score(metric, score) if metric and score is not None else "",
                notes=tuple(_notes(predictions[first.id])),
            )
            for index, (name, predictions, score) in enumerate(zip(names, by_id, scores, strict=True))
        )
        a, b = (scores[order[0]], scores[order[1]]) if order else (scores[0], 0.0)
        gap = a - b if a is not None and b is not None else None
        readings.append(Reading(first.id, first.dialogue, first.references, outputs, gap))
    return tuple(readings)


def _notes(prediction: Prediction) -> list[str]:
    notes = {
        "cut at max_new_tokens": prediction.hit_length_cap,
        "dialogue truncated": prediction.truncated,
    }
    return [note for note, holds in notes.items() if holds]
