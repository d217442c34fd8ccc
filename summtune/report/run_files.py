"""Reads the files of a run or a comparison for a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json, read_jsonl
from summtune.runs.records import Prediction
from summtune.runs.run_directory import read_predictions


@dataclass(frozen=True)
class RunFiles:
    """A finished run.

    Args:
        folder: the run directory.
        plan: ``plan.json``.
        metrics: ``metrics.json``.
        stats: ``prediction_stats.json``.
        training: ``training.json``; None for a prompted model.
        train_log: rows of ``train_log.jsonl``; empty for a prompted model.
        predictions: in the order of the file.
        per_example: the score of each metric by dialogue id.
        given: ``recipe.yaml``, as its author wrote it; None if the directory has none.
    """

    folder: Path
    plan: Mapping[str, Any]
    metrics: Mapping[str, Any]
    stats: Mapping[str, Any]
    training: Mapping[str, Any] | None
    train_log: tuple[Mapping[str, Any], ...]
    predictions: tuple[Prediction, ...]
    per_example: Mapping[str, Mapping[str, float]]
    given: str | None

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.plan["name"])

    def as_system(self) -> dict[str, Any]:
        """Return the run as a row of ``systems`` in ``comparison.json``."""
        return {
            "name": self.name,
            "run_dir": str(self.folder),
            "kind": self.plan["kind"],
            "trainable_parameters": self.stats.get("trainable_parameters"),
            "total_parameters": self.stats.get("total_parameters"),
            "metrics": self.metrics["metrics"],
        }


def read_run(folder: Path) -> RunFiles:
    """Return the files of the run in ``folder``.

    Raises:
        RunDirectoryError: one of them is missing, so the run is not finished.
    """
    metrics = read_json(_existing(folder, "metrics.json"))
    rows = read_jsonl(_existing(folder, metrics["per_example"]))
    training, train_log = folder / "training.json", folder / "train_log.jsonl"
    return RunFiles(
        folder=folder,
        plan=read_json(_existing(folder, "plan.json")),
        metrics=metrics,
        stats=read_json(_existing(folder, "prediction_stats.json")),
        training=read_json(training) if training.is_file() else None,
        train_log=tuple(read_jsonl(train_log)) if train_log.is_file() else (),
        predictions=tuple(read_predictions(_existing(folder, "predictions.jsonl"))),
        per_example={row["id"]: {name: score for name, score in row.items() if name != "id"} for row in rows},
        given=_given(folder),
    )


@dataclass(frozen=True)
class ComparisonFiles:
    """A comparison: ``comparison.json``, and the runs of its systems in the same order."""

    folder: Path
    comparison: Mapping[str, Any]
    runs: tuple[RunFiles, ...]

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's if there is no plan."""
        return self.folder.name if self.plan is None else str(self.plan["name"])

    @property
    def plan(self) -> Mapping[str, Any] | None:
        """``plan.json``; None if runs were compared without a recipe."""
        path = self.folder / "plan.json"
        plan: Mapping[str, Any] | None = read_json(path) if path.is_file() else None
        return plan

    @property
    def given(self) -> str | None:
        """``recipe.yaml``, as its author wrote it; None if there is none."""
        return _given(self.folder)


def read_comparison(folder: Path) -> ComparisonFiles:
    """Return ``comparison.json`` in ``folder`` with the files of its systems.

    Raises:
        RunDirectoryError: there is none, an older summtune wrote it, or a system's run directory is missing or
            unfinished.
    """
    comparison = read_json(_existing(folder, "comparison.json"))
    if "correction" not in comparison["protocol"]:
        raise RunDirectoryError(
            f"{folder / 'comparison.json'} was written by an older summtune (got p-values without correction); "
            "run the comparison again"
        )
    runs = tuple(read_run(_run_folder(folder, system)) for system in comparison["systems"])
    return ComparisonFiles(folder, comparison, runs)


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise RunDirectoryError(f"{folder} is not a finished run (got no {name}); finish it with `summtune run RECIPE`")
    return path


def _given(folder: Path) -> str | None:
    path = folder / "recipe.yaml"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _run_folder(folder: Path, system: Mapping[str, Any]) -> Path:
    """Return the system's run directory: as recorded, or inside ``folder`` if all were moved together."""
    written = Path(system["run_dir"])
    places = [folder / written, folder / written.name]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise RunDirectoryError(
            f"the run of {system['name']} is missing (got {written}); restore it, or compare the runs again"
        )
    return found
