"""The systems of a comparison, read from the directories of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from summtune.base.visible import one_line
from summtune.runs.comparison import ComparedSystem
from summtune.runs.finished import FinishedRun, RunFacts, read_facts, read_run
from summtune.runs.metrics import RunMetrics


@dataclass(frozen=True)
class FinishedSystem:
    """A system whose run has finished: one row of a comparison.

    Args:
        name: shown to readers, unique within a comparison.
        facts: what its run did.
    """

    name: str
    facts: RunFacts

    @property
    def run_dir(self) -> Path:
        """Its run directory."""
        return self.facts.folder


@dataclass(frozen=True)
class ScoredSystem:
    """A system with its scores.

    Args:
        name: how people know it, unique within a comparison.
        run: its run.
    """

    name: str
    run: FinishedRun

    @property
    def scores(self) -> RunMetrics:
        """What ``metrics.json`` holds."""
        return self.run.scores

    @cached_property
    def per_example(self) -> dict[str, dict[str, float]]:
        """By metric, scores by dialogue id; metrics of the whole corpus are missing here."""
        rows = self.run.per_example
        names = next(iter(rows.values()))
        return {name: {id_: row[name] for id_, row in rows.items()} for name in self.scores.metrics if name in names}

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Predictions by dialogue id."""
        return {prediction.id: prediction.prediction for prediction in self.run.predictions}

    def compared(self) -> ComparedSystem:
        """Return the system as ``comparison.json`` holds it."""
        return self.run.compared(self.name)


def read_system(name: str | None, run_dir: Path) -> FinishedSystem:
    """Return the system whose run is in ``run_dir``.

    Args:
        name: of the system; None for the directory's name, which distinguishes two runs of one recipe, or for the name
            that was given to external outputs.
        run_dir: its run directory.

    Raises:
        RunDirectoryError: the directory holds no run, an unfinished or damaged one, or a comparison.
    """
    facts = read_facts(run_dir)
    return FinishedSystem(name or one_line(facts.plan.name if facts.kind == "scored" else run_dir.name), facts)


def read_scores(system: FinishedSystem) -> ScoredSystem:
    """Return the system with its scores.

    Raises:
        RunDirectoryError: scores are missing, damaged, or do not fit together.
    """
    return ScoredSystem(system.name, read_run(system.run_dir))
