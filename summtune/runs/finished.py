"""The one reader of a finished run, and of a comparison of such runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import RunDirectoryError
from summtune.base.strict import read_model, read_model_lines
from summtune.runs.comparison import COMPARISON_FILE, ComparedSystem, Comparison, SystemKind
from summtune.runs.cost import Cost, cost_of
from summtune.runs.metrics import METRICS_FILE, ExampleScores, RunMetrics
from summtune.runs.records import Prediction
from summtune.runs.run_directory import read_predictions
from summtune.runs.run_plan import PLAN_FILE, PlanView, read_plan_view
from summtune.runs.statistics import STATS_FILE, TRAIN_LOG_FILE, TRAINING_FILE, PredictionStats, Training, TrainLogRow
from summtune.runs.stopping import Stopping
from summtune.runs.supervision import SUPERVISION_FILE, Supervision

PREDICTIONS_FILE = "predictions.jsonl"


@dataclass(frozen=True)
class RunFacts:
    """What a run did, besides its scores.

    Args:
        folder: the run directory.
        kind: ``prompt``, ``train`` or ``scored`` (external outputs).
        plan: what is shown of ``plan.json``.
        stats: ``prediction_stats.json``.
        training: ``training.json``; None unless the run trained.
        supervision: ``supervision.json``; None unless the run trained, with a version that writes it.
    """

    folder: Path
    kind: SystemKind
    plan: PlanView
    stats: PredictionStats
    training: Training | None
    supervision: Supervision | None = None

    @property
    def cost(self) -> Cost:
        """What making and using the system cost, see `cost_of`."""
        return cost_of(self.folder, self.plan, self.stats, self.training)

    def compared(self, name: str, scores: RunMetrics) -> ComparedSystem:
        """Return the run as a comparison shows it under this name."""
        return ComparedSystem(
            name=name,
            run_dir=str(self.folder.resolve()),
            kind=self.kind,
            trainable_parameters=self.stats.trainable_parameters,
            total_parameters=self.stats.total_parameters,
            metrics=scores.metrics,
            by_references=scores.by_references,
            cost=self.cost,
        )


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Args:
        facts: what it did.
        scores: ``metrics.json``.
        per_example: the score of each metric by dialogue id.
        predictions: in the order of the file.
        train_log: rows of ``train_log.jsonl``; empty unless the run trained.
        given: ``recipe.yaml``, as its author wrote it; None if the directory has none.
    """

    facts: RunFacts
    scores: RunMetrics
    per_example: Mapping[str, Mapping[str, float]]
    predictions: tuple[Prediction, ...]
    train_log: tuple[TrainLogRow, ...]
    given: str | None

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self.facts.folder

    @property
    def stopping(self) -> Stopping | None:
        """How often the trained model ended its summaries by itself, if need be of the test dialogues."""
        if self.facts.kind != "train" or self.facts.stats.stopping is not None:
            return self.facts.stats.stopping
        cut = [each.hit_length_cap for each in self.predictions]
        return Stopping.of("test", map(bool, cut))

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.facts.plan.name

    def compared(self, name: str | None = None) -> ComparedSystem:
        """Return the run as a comparison shows it, under the recipe's name unless another one is given."""
        return self.facts.compared(name or self.name, self.scores)


@dataclass(frozen=True)
class FinishedComparison:
    """A comparison, and the runs of its systems in the same order.

    Args:
        folder: that holds it.
        comparison: ``comparison.json``.
        runs: of its systems.
        plan: what is shown of ``plan.json``; None if runs were compared without a recipe.
        given: ``recipe.yaml``, as its author wrote it; None if there is none.
    """

    folder: Path
    comparison: Comparison
    runs: tuple[FinishedRun, ...]
    plan: PlanView | None
    given: str | None

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's if there is no plan."""
        return self.folder.name if self.plan is None else self.plan.name


def read_facts(folder: Path) -> RunFacts:
    """Return what the run in ``folder`` did, which may not have been scored yet.

    Raises:
        RunDirectoryError: a file is missing or damaged, or the folder holds a comparison.
    """
    plan = read_plan_view(_existing(folder, PLAN_FILE))
    if plan.kind == "compare":
        raise RunDirectoryError(
            f"{folder} holds a comparison (got a plan of kind compare); name prompt or train runs, or what "
            "`summtune evaluate --output-dir` wrote"
        )
    stats = read_model(PredictionStats, _existing(folder, STATS_FILE))
    training = read_model(Training, _existing(folder, TRAINING_FILE)) if plan.kind == "train" else None
    proven = folder / SUPERVISION_FILE
    supervision = read_model(Supervision, proven) if plan.kind == "train" and proven.is_file() else None
    return RunFacts(folder, plan.kind, plan, stats, training, supervision)


def read_run(folder: Path) -> FinishedRun:
    """Return the finished run in ``folder``.

    Raises:
        RunDirectoryError: a file is missing, so the run is not finished; or it is damaged, or does not fit the others.
    """
    facts = read_facts(folder)
    scores = read_model(RunMetrics, _existing(folder, METRICS_FILE))
    path = _existing(folder, scores.per_example)
    per_example = {row.id: row.scores for row in read_model_lines(ExampleScores, path)}
    predictions = tuple(read_predictions(_existing(folder, PREDICTIONS_FILE)))
    _check_fit(folder, scores, per_example, predictions)
    log = folder / TRAIN_LOG_FILE
    train_log = tuple(read_model_lines(TrainLogRow, log)) if log.is_file() else ()
    return FinishedRun(facts, scores, per_example, predictions, train_log, _given(folder))


def read_comparison(folder: Path) -> FinishedComparison:
    """Return the comparison in ``folder`` with the runs of its systems.

    Raises:
        RunDirectoryError: there is none, a file is damaged, or a system's run directory is missing or unfinished.
    """
    comparison = read_model(Comparison, _existing(folder, COMPARISON_FILE))
    runs = tuple(read_run(_run_folder(folder, system)) for system in comparison.systems)
    plan = folder / PLAN_FILE
    return FinishedComparison(
        folder, comparison, runs, read_plan_view(plan) if plan.is_file() else None, _given(folder)
    )


def _check_fit(
    folder: Path,
    scores: RunMetrics,
    per_example: Mapping[str, Mapping[str, float]],
    predictions: tuple[Prediction, ...],
) -> None:
    """Raise RunDirectoryError if the files of a run are not of the same dialogues."""
    advice = f"delete {METRICS_FILE} there and give the run's command again"
    if len(per_example) != scores.n:
        raise RunDirectoryError(
            f"{folder / scores.per_example} does not fit {METRICS_FILE} (got scores of {len(per_example)} dialogues "
            f"instead of {scores.n}); {advice}"
        )
    if {prediction.id for prediction in predictions} != per_example.keys() or len(predictions) != scores.n:
        raise RunDirectoryError(
            f"{folder / PREDICTIONS_FILE} does not fit {METRICS_FILE} (got {len(predictions)} predictions for "
            f"{scores.n} scored dialogues); {advice}"
        )
    names = next(iter(per_example.values())).keys()
    for id_, row in per_example.items():
        if row.keys() != names:
            raise RunDirectoryError(
                f"{folder / scores.per_example} does not fit {METRICS_FILE} (got the metrics {', '.join(row)} for "
                f"{id_!r}); {advice}"
            )


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise RunDirectoryError(
            f"{folder} is not a finished run (got no {name}); give its `summtune run` command again: it resumes"
        )
    return path


def _given(folder: Path) -> str | None:
    path = folder / "recipe.yaml"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _run_folder(folder: Path, system: ComparedSystem) -> Path:
    """Return the system's run directory: as recorded, or inside ``folder`` if all were moved together."""
    written = Path(system.run_dir)
    places = [folder / written, folder / written.name]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise RunDirectoryError(
            f"the run of {system.name} is missing (got {written}); restore it, or compare the runs again"
        )
    return found
