"""The diagnostics of all systems as tables: one row per check, with the references for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from summtune.base import numbers
from summtune.base.visible import one_line
from summtune.report.table import Table
from summtune.runs.comparison import IdenticalOutputs
from summtune.runs.diagnostics import CheckResult
from summtune.runs.diagnostics import Diagnostics as RunDiagnostics


@dataclass(frozen=True)
class Example:
    """One dialogue in which a check found something, and what it found."""

    system: str
    id: str
    found: str


@dataclass(frozen=True)
class DiagnosticRow:
    """The results of one check for every system.

    Args:
        title: what the check looks for, as a heading.
        meaning: one sentence.
        counts: for each system, the number of dialogues with a finding, and of all; None if the check cannot be made.
        references: the share of references with the same finding, as text; a dash if that has no meaning.
        examples: a few for each system.
    """

    title: str
    meaning: str
    counts: tuple[tuple[int, int] | None, ...]
    references: str
    examples: tuple[Example, ...]

    def examples_by_system(self) -> dict[str, list[Example]]:
        """Return the examples of each system that has any, in the systems' order."""
        found: dict[str, list[Example]] = {}
        for example in self.examples:
            found.setdefault(example.system, []).append(example)
        return found


@dataclass(frozen=True)
class Diagnostics:
    """The findings in the outputs.

    Args:
        names: the systems, in the order of the checks' counts.
        checks: in the evaluator's order.
        pairs: sentences about two systems and the number of outputs that they share.
        notes: sentences about what the checks cannot detect in these scripts.
        means: means over the outputs, one row per system, and over the references in the last row.
    """

    names: tuple[str, ...]
    checks: tuple[DiagnosticRow, ...]
    pairs: tuple[str, ...]
    means: Table | None
    notes: tuple[str, ...] = ()

    def table(self) -> Table | None:
        """Return a summary of the checks: systems as columns, each with a count and its share."""
        if not self.checks:
            return None
        rows = tuple(
            (check.title, *(count_text(count) for count in check.counts), check.references) for check in self.checks
        )
        return Table(("Check", *self.names, "References"), rows)


_MEANS = {
    "prompt_tokens": ("Prompt tokens", False),
    "new_tokens": ("New tokens", False),
    "prediction_words": ("Words", False),
    "length_ratio": ("Length ratio", False),
    "novel_1_grams": ("New words", True),
    "novel_2_grams": ("New pairs", True),
    "novel_3_grams": ("New triples", True),
    "unread_letters": ("Letters unread by ROUGE", True),
}
"""Titles, and whether the value is a share."""


def diagnostics(
    names: Sequence[str], found: Sequence[RunDiagnostics], identical: IdenticalOutputs | None = None
) -> Diagnostics:
    """Return the diagnostics of the systems called ``names``.

    Args:
        names: one per system.
        found: in their outputs, in the same order.
        identical: of a comparison, for how many dialogues its systems wrote the same.
    """
    keys = dict.fromkeys(key for each in found for key in each.checks)
    return Diagnostics(
        names=tuple(one_line(name) for name in names),
        checks=tuple(_check(names, [each.checks.get(key) for each in found]) for key in keys),
        pairs=() if identical is None else tuple(_pairs(identical)),
        means=_means(names, [each.means for each in found]),
        notes=tuple(dict.fromkeys(note for each in found for note in each.notes)),
    )


def count_text(count: tuple[int, int] | None) -> str:
    """Return ``24 (12 %)``, ``0``, or a dash if the check cannot be made."""
    if count is None:
        return "–"
    return f"{numbers.count(count[0])} ({numbers.share(*count)})" if count[0] else "0"


def _check(names: Sequence[str], found: Sequence[CheckResult | None]) -> DiagnosticRow:
    """Return the row of one check; ``found`` contains its findings for each system."""
    made = [(name, each) for name, each in zip(names, found, strict=True) if each is not None]
    _, first = made[0]
    references = next((each.references for _, each in made if each.references is not None), None)
    return DiagnosticRow(
        title=first.title,
        meaning=first.meaning,
        counts=tuple(None if each is None else (each.count, each.of) for each in found),
        references="–" if references is None else _share(references),
        examples=tuple(Example(name, example.id, example.found) for name, each in made for example in each.examples),
    )


def _pairs(identical: IdenticalOutputs) -> list[str]:
    """Return one sentence for every two systems that share outputs, or one that says that none do."""
    return [
        f"{one_line(pair.a)} and {one_line(pair.b)} wrote the same for {numbers.count(pair.count)} of "
        f"{numbers.count(pair.of)} dialogues ({numbers.share(pair.count, pair.of)})."
        for pair in identical.pairs
        if pair.count
    ] or ["No two systems wrote the same for any dialogue."]


def _means(names: Sequence[str], means: Sequence[Mapping[str, float | None]]) -> Table | None:
    known = [key for key in dict.fromkeys(key for each in means for key in each) if not key.startswith("reference_")]
    keys = [key for key in known if any(each.get(key) is not None for each in means)]
    if not keys:
        return None
    titles = [_MEANS[key][0] if key in _MEANS else key.replace("_", " ").capitalize() for key in keys]
    rows = [
        (one_line(name), *(_mean(key, each.get(key)) for key in keys)) for name, each in zip(names, means, strict=True)
    ]
    human = [_of_references(key, means) for key in keys]
    if any(value is not None for value in human):
        rows.append(("references", *(_mean(key, value) for key, value in zip(keys, human, strict=True))))
    return Table(("Mean of an output", *titles), tuple(rows))


def _of_references(key: str, means: Sequence[Mapping[str, float | None]]) -> float | None:
    """Return the references' value for a mean of the outputs; it is the same for every system."""
    name = f"reference_{key.removeprefix('prediction_')}"
    return next((each[name] for each in means if each.get(name) is not None), None)


def _mean(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return _share(value) if _MEANS.get(key, ("", False))[1] else f"{value:,.2f}" if value < 10 else f"{value:,.1f}"


def _share(fraction: float) -> str:
    return numbers.share(round(fraction * 1_000_000), 1_000_000)
