"""Forecasts how long a recipe will take, from what its smoke run took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import StageError
from summtune.base.numbers import counted, decimal
from summtune.base.strict import read_model, read_model_lines
from summtune.plan.draft import RunDraft
from summtune.plan.plan import RunPlan, TrainPlan, read_run_plan
from summtune.plan.smoke import PAUSE_AFTER
from summtune.runs.events import EventReader, Part
from summtune.runs.statistics import STATS_FILE, TRAIN_LOG_FILE, TRAINING_FILE, PredictionStats, Training, TrainLogRow


@dataclass(frozen=True)
class WholeRun:
    """A run of the recipe as it is, for which the smoke run stands.

    Args:
        name: of the system, or of the recipe.
        draft: of the run.
        plan: as it would begin now.
        ratio: length of the smoke run's training pairs divided by that of all; None without training.
    """

    name: str
    draft: RunDraft
    plan: RunPlan
    ratio: float | None


@dataclass(frozen=True)
class Term:
    """A summand of the forecast: the product as it is shown, and its value in seconds."""

    text: str
    seconds: float


@dataclass(frozen=True)
class TrainingMeasured:
    """What the training of a smoke run took.

    Args:
        steps: seconds of its two steps, each the first of its processes.
        pairs: of each step.
        peak_memory_bytes: most that the first process held.
        processes: that trained.
    """

    steps: tuple[float, ...]
    pairs: int
    peak_memory_bytes: int
    processes: int

    @property
    def step(self) -> float:
        """Seconds a step of the longest pairs: of the faster one, in which less is done for the first time."""
        return min(self.steps)


@dataclass(frozen=True)
class Forecast:
    """The measurements of one smoke run, and what the whole run will take.

    Args:
        whole: the run that is forecast.
        training: None for a prompted model.
        generation_memory_bytes: most that the first process of the prediction held; None if a server generated.
        evaluated: validation pairs that were evaluated each time; 0 without.
        summarized: dialogues that were summarized.
        terms: of the whole run's seconds, without its start-up.
        measured: seconds of the smoke run that these terms stand for.
    """

    whole: WholeRun
    training: TrainingMeasured | None
    generation_memory_bytes: int | None
    evaluated: int
    summarized: int
    terms: tuple[Term, ...]
    measured: float

    @property
    def seconds(self) -> float:
        """Sum of the terms."""
        return math.fsum(term.seconds for term in self.terms)


def forecast(whole: WholeRun, run_dir: Path) -> Forecast:
    """Return the forecast of a run from the finished smoke run in ``run_dir``.

    Raises:
        StageError: the training did not resume from its checkpoint.
    """
    short = read_run_plan(run_dir)
    stats = read_model(PredictionStats, run_dir / STATS_FILE)
    generating = _took(run_dir, "generation")
    measured, terms, training, evaluated = math.fsum(generating), [], None, 0
    if isinstance(whole.plan, TrainPlan) and isinstance(short, TrainPlan):
        training = _training(short, run_dir)
        evaluations, saves = _took(run_dir, "evaluation"), _took(run_dir, "checkpoint")
        evaluated = short.data.validation.pairs if short.data.validation else 0
        measured += math.fsum((*training.steps, *evaluations, *saves))
        terms = [*_training_terms(whole.plan, training.step, evaluations, evaluated, saves)]
    each = math.fsum(generating) / short.data.test.dialogues
    terms.append(_product((whole.plan.data.test.dialogues, "dialogue"), each))
    return Forecast(
        whole=whole,
        training=training,
        generation_memory_bytes=stats.peak_memory_bytes,
        evaluated=evaluated,
        summarized=short.data.test.dialogues,
        terms=tuple(terms),
        measured=measured,
    )


def _training(short: TrainPlan, run_dir: Path) -> TrainingMeasured:
    done = read_model(Training, run_dir / TRAINING_FILE)
    if done.resumed_from_step != PAUSE_AFTER:
        raise StageError(
            f"the training did not resume from its checkpoint after step {PAUSE_AFTER} (got "
            f"{done.resumed_from_step}); see the log",
            str(run_dir / "logs" / "train.rank0.log"),
        )
    pairs = short.batch.global_batch
    rows = read_model_lines(TrainLogRow, run_dir / TRAIN_LOG_FILE)
    speeds = [row.samples_per_second for row in rows if row.samples_per_second is not None]
    return TrainingMeasured(tuple(pairs / speed for speed in speeds), pairs, done.peak_memory_bytes, done.processes)


def _training_terms(
    plan: TrainPlan, step: float, evaluations: Sequence[float], evaluated: int, saves: Sequence[float]
) -> list[Term]:
    recipe, batch = plan.recipe, plan.batch
    steps = batch.optimizer_steps
    terms = [_product((steps, "step"), step)]
    if plan.data.validation is not None and evaluations:
        times = steps // recipe.eval_steps if recipe.eval_steps else math.ceil(steps / batch.steps_per_epoch)
        terms.append(
            _product((times, "evaluation"), (plan.data.validation.pairs, "pair"), min(evaluations) / evaluated)
        )
    # Also after each evaluation that is the best so far, and after the last step.
    every = recipe.eval_steps or recipe.save_steps or batch.steps_per_epoch
    terms.append(_product((math.ceil(steps / every), "checkpoint"), max(saves)))
    return terms


def _product(*factors: tuple[int, str] | float) -> Term:
    texts, seconds = [], 1.0
    for factor in factors:
        if isinstance(factor, tuple):
            texts.append(counted(*factor))
            seconds *= factor[0]
        else:
            texts.append(f"{decimal(factor)} s")
            seconds *= factor
    return Term(" × ".join(texts), seconds)


def _took(run_dir: Path, what: Part) -> list[float]:
    """Return the seconds of each part of this kind, of all sessions."""
    events = EventReader(run_dir, start=0).new()
    return [event["seconds"] for event in events if event["event"] == "took" and event["what"] == what]
