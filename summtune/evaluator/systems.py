"""Reads the systems of a comparison from the directories of their runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json, read_jsonl
from summtune.base.visible import one_line
from summtune.evaluator.evaluation import METRICS_FILE

KINDS = ("prompt", "train", "scored")
"""What can be compared: prompted and trained models, and external outputs that were scored here."""


@dataclass(frozen=True)
class Cost:
    """What a system costs; None if unknown, as for external outputs.

    Args:
        device_hours: of training, hours times devices; 0 for a prompted model.
        devices: number of processes that trained, each on one GPU (without GPUs, on this machine's CPU).
        peak_memory_bytes: most memory that a process held in training, or in prediction for a prompted model: of its
            GPU, or its resident memory without one.
        size_bytes: of the weights kept in addition to the base model's: all of them after full fine-tuning, the
            adapter's, or 0 for a prompted model.
    """

    device_hours: float | None = None
    devices: int | None = None
    peak_memory_bytes: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class FinishedSystem:
    """A system whose run has finished: one row of a comparison.

    Args:
        name: shown to readers, unique within a comparison.
        run_dir: its run directory.
        kind: ``prompt``, ``train`` or ``scored`` (external outputs).
        trainable_parameters: parameters that training could change, 0 for a prompted model; None if unknown.
        total_parameters: all parameters, including an adapter's; None if unknown.
        cost: of training and keeping it.
    """

    name: str
    run_dir: Path
    kind: str
    trainable_parameters: int | None
    total_parameters: int | None
    cost: Cost


@dataclass(frozen=True)
class ScoredSystem:
    """A system with its scores.

    Args:
        system: the system.
        metrics: ``metrics.json``.
        per_example: by metric, scores by dialogue id.
        outputs: predictions by dialogue id.
        references: by dialogue id.
    """

    system: FinishedSystem
    metrics: dict[str, Any]
    per_example: dict[str, dict[str, float]]
    outputs: dict[str, str]
    references: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the object as written to ``systems`` of ``comparison.json``."""
        return {
            "name": self.system.name,
            "run_dir": str(self.system.run_dir.resolve()),
            "kind": self.system.kind,
            "trainable_parameters": self.system.trainable_parameters,
            "total_parameters": self.system.total_parameters,
            "metrics": self.metrics["metrics"],
            "by_references": self.metrics["by_references"],
            "cost": asdict(self.system.cost),
        }


def read_system(name: str | None, run_dir: Path) -> FinishedSystem:
    """Return the system whose run is in ``run_dir``.

    Args:
        name: of the system; None for the directory's name, which distinguishes two runs of one recipe, or for the name
            that was given to external outputs.
        run_dir: its run directory.

    Raises:
        RunDirectoryError: the directory holds no run, an unfinished one, or a comparison.
    """
    plan = _read(run_dir, "plan.json")
    if plan["kind"] not in KINDS:
        raise RunDirectoryError(
            f"{run_dir} holds a run of kind {plan['kind']} (got it as system {name or run_dir.name!r}); name prompt or "
            "train runs, or what `summtune evaluate --output-dir` wrote"
        )
    stats = _read(run_dir, "prediction_stats.json")
    training = _read(run_dir, "training.json") if plan["kind"] == "train" else {}
    return FinishedSystem(
        name=name or one_line(plan["name"] if plan["kind"] == "scored" else run_dir.name),
        run_dir=run_dir,
        kind=plan["kind"],
        trainable_parameters=stats["trainable_parameters"],
        total_parameters=stats["total_parameters"],
        cost=_cost(run_dir, plan["kind"], stats, training),
    )


def read_scores(system: FinishedSystem) -> ScoredSystem:
    """Return the system with its scores.

    Raises:
        RunDirectoryError: scores are missing, inconsistent, or written by an older summtune.
    """
    metrics = _read(system.run_dir, METRICS_FILE)
    advice = f"delete {METRICS_FILE} there and give the run's command again"
    if "by_references" not in metrics:
        raise RunDirectoryError(
            f"{system.run_dir / METRICS_FILE} was written by an older summtune (got no by_references); {advice}"
        )
    path = system.run_dir / metrics["per_example"]
    rows = {row.pop("id"): row for row in read_jsonl(path)} if path.is_file() else {}
    if len(rows) != metrics["n"]:
        raise RunDirectoryError(
            f"{path} does not fit {METRICS_FILE} (got scores of {len(rows)} dialogues instead of {metrics['n']}); "
            f"{advice}"
        )
    names = [name for name in metrics["metrics"] if name in next(iter(rows.values()))]
    per_example = {name: {id_: row[name] for id_, row in rows.items()} for name in names}
    predictions = system.run_dir / "predictions.jsonl"
    written = list(read_jsonl(predictions)) if predictions.is_file() else []
    outputs = {row["id"]: row["prediction"] for row in written}
    if outputs.keys() != rows.keys():
        raise RunDirectoryError(
            f"{predictions} does not fit {METRICS_FILE} (got {len(outputs)} predictions for {metrics['n']} scored "
            f"dialogues); {advice}"
        )
    return ScoredSystem(system, metrics, per_example, outputs, {row["id"]: row["references"] for row in written})


def _cost(run_dir: Path, kind: str, stats: dict[str, Any], training: dict[str, Any]) -> Cost:
    if kind == "scored":
        return Cost()
    if kind == "prompt":
        return Cost(0.0, None, stats.get("peak_memory_bytes"), 0)
    seconds = training.get("device_seconds")
    return Cost(
        device_hours=seconds / 3600 if seconds is not None else None,
        devices=training.get("processes"),
        peak_memory_bytes=training.get("peak_memory_bytes"),
        size_bytes=sum(file.stat().st_size for file in (run_dir / "model").glob("*.safetensors")),
    )


def _read(run_dir: Path, file: str) -> dict[str, Any]:
    path = run_dir / file
    if not path.is_file():
        raise RunDirectoryError(
            f"{run_dir} is not a finished run (got no {file}); give its `summtune run` command again: it resumes"
        )
    value: dict[str, Any] = read_json(path)
    return value
