"""Details of how a system was made: its recipe as given and as resolved, versions, training, costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from typing_extensions import assert_never

from summtune.base import numbers
from summtune.report.recipe_text import recipe_text
from summtune.runs.finished import FinishedComparison, FinishedRun
from summtune.runs.run_plan import RoleView
from summtune.runs.statistics import Training, TrainLogRow

T = TypeVar("T")


@dataclass(frozen=True)
class Details:
    """How a system, or a comparison, was made.

    Args:
        name: of the system.
        entries: pairs of a title and a text, for a table.
        versions: by package.
        given: the recipe as its author wrote it, None if the directory has none.
        recipe: the resolved recipe as YAML.
        train_log: rows of ``train_log.jsonl``.
    """

    name: str
    entries: tuple[tuple[str, str], ...]
    versions: Mapping[str, str]
    given: str | None
    recipe: str
    train_log: Sequence[TrainLogRow]


def run_details(name: str, run: FinishedRun) -> Details:
    """Return how the system called ``name`` was made."""
    return Details(
        name=name,
        entries=tuple(_run_entries(run)),
        versions=run.facts.plan.versions,
        given=run.given,
        recipe=recipe_text(run.facts.plan.recipe),
        train_log=run.train_log,
    )


def comparison_details(files: FinishedComparison) -> Details | None:
    """Return how the comparison was made; None if runs were compared without a recipe."""
    plan = files.plan
    if plan is None:
        return None
    entries: list[tuple[str, str | None]] = [
        ("Kind", f"comparison of {numbers.count(len(files.runs))} systems"),
        ("Identity", plan.identity),
        ("Git commit", plan.git_commit),
        ("Created", plan.created_at),
    ]
    return Details(
        name=files.name,
        entries=tuple((title, text) for title, text in entries if text is not None),
        versions=plan.versions,
        given=files.given,
        recipe=recipe_text(plan.recipe),
        train_log=(),
    )


def system_description(run: FinishedRun) -> str:
    """Return a short description of the system: its model, and how it was adapted."""
    recipe = run.facts.plan.recipe
    model = recipe.get("base_model", "a model")
    match run.facts.kind:
        case "scored":
            return "External predictions"
        case "prompt":
            return f"{model}, prompted"
        case "train":
            return f"{model}, fine-tuned ({recipe.get('adapter') or 'all weights'})"
    assert_never(run.facts.kind)


def hours_title(runs: Sequence[FinishedRun]) -> str:
    """Return ``GPU-hours`` if all runs used GPUs, otherwise ``Device-hours``."""
    devices = {device for run in runs for device in run.facts.plan.devices}
    return "GPU-hours" if devices == {"cuda"} else "Device-hours"


def _run_entries(run: FinishedRun) -> list[tuple[str, str]]:
    """Return pairs of a title and a text, without those that do not apply to this run."""
    plan, stats = run.facts.plan, run.facts.stats
    batch = (plan.batch or {}).items()
    entries: list[tuple[str, str | None]] = [
        ("Kind", system_description(run)),
        ("Parameters", _with(numbers.count, stats.total_parameters)),
        ("Trainable parameters", _trained_parameters(run)),
        ("Training data", _sources(plan.data.train)),
        ("Validation data", _sources(plan.data.validation)),
        ("Test data", _sources(plan.data.test)),
        ("Batch", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in batch if value) or None),
        *_training_entries(run.facts.training),
        ("Attention", stats.global_attention),
        ("Prediction time", _with(numbers.duration, stats.seconds)),
        ("Exemplars in the prompts", _first_ids(stats.exemplars)),
        ("Identity", plan.identity),
        ("Git commit", plan.git_commit),
    ]
    return [(title, text) for title, text in entries if text is not None]


def _training_entries(training: Training | None) -> list[tuple[str, str | None]]:
    if training is None:
        return []
    return [
        ("Optimizer steps", numbers.count(training.steps)),
        ("Epochs", numbers.decimal(training.epochs)),
        ("Training loss", _with(numbers.decimal, training.train_loss)),
        ("Validation loss", _with(numbers.decimal, training.eval_loss)),
        ("Best step", _with(numbers.count, training.best_step)),
        ("Training time", numbers.duration(training.seconds)),
        ("Peak memory per device", numbers.size(training.peak_memory_bytes)),
        ("Precision", training.precision),
    ]


def _trained_parameters(run: FinishedRun) -> str | None:
    parameters = run.compared().parameters
    return numbers.parameters(*parameters) if parameters is not None and run.facts.kind == "train" else None


def _sources(role: RoleView | None) -> str | None:
    """Return where the dialogues of one role came from, and how many there are."""
    if role is None or not role.sources:
        return None
    names = (f"{each.path} ({each.split})" if each.split else each.path for each in role.sources)
    skipped = sum(each.skipped_rows for each in role.sources)
    left_out = f"; empty rows skipped: {numbers.count(skipped)}" if skipped else ""
    return f"{', '.join(names)}: {numbers.count(role.dialogues)} dialogues{left_out}"


def _first_ids(ids: Sequence[str], shown: int = 8) -> str | None:
    """Return the first ids; there may be many, because each dialogue can have different exemplars."""
    more = f" and {numbers.count(len(ids) - shown)} more" if len(ids) > shown else ""
    return f"{', '.join(ids[:shown])}{more}" if ids else None


def _with(format_: Callable[[T], str], value: T | None) -> str | None:
    return None if value is None else format_(value)
