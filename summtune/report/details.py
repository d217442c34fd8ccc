"""Details of how a system was made: its recipe as given and as resolved, versions, training, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from summtune.base import numbers
from summtune.report.recipe_text import recipe_text
from summtune.report.run_files import ComparisonFiles, RunFiles


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
    train_log: Sequence[Mapping[str, Any]]


def run_details(name: str, run: RunFiles) -> Details:
    """Return how the system called ``name`` was made."""
    return Details(
        name=name,
        entries=tuple(_run_entries(run)),
        versions=run.plan.get("versions") or {},
        given=run.given,
        recipe=recipe_text(run.plan["recipe"]),
        train_log=run.train_log,
    )


def comparison_details(files: ComparisonFiles) -> Details | None:
    """Return how the comparison was made; None if runs were compared without a recipe."""
    plan = files.plan
    if plan is None:
        return None
    entries: list[tuple[str, str | None]] = [
        ("Kind", f"comparison of {numbers.count(len(files.runs))} systems"),
        ("Identity", plan.get("identity")),
        ("Git commit", plan.get("git_commit")),
        ("Created", plan.get("created_at")),
    ]
    return Details(
        name=files.name,
        entries=tuple((title, text) for title, text in entries if text is not None),
        versions=plan.get("versions") or {},
        given=files.given,
        recipe=recipe_text(plan["recipe"]),
        train_log=(),
    )


def system_description(run: RunFiles) -> str:
    """Return a short description of the system: its model, and how it was adapted."""
    if run.plan["kind"] == "scored":
        return "External predictions"
    model = run.plan["recipe"].get("base_model", "a model")
    if run.plan["kind"] == "prompt":
        return f"{model}, prompted"
    return f"{model}, fine-tuned ({run.plan['recipe'].get('adapter') or 'all weights'})"


def hours_title(runs: Sequence[RunFiles]) -> str:
    """Return ``GPU-hours`` if all runs used GPUs, otherwise ``Device-hours``."""
    launches = (stage.get("launch") or {} for run in runs for stage in run.plan.get("stages") or [])
    devices = {launch["device"] for launch in launches if "device" in launch}
    return "GPU-hours" if devices == {"cuda"} else "Device-hours"


def _run_entries(run: RunFiles) -> list[tuple[str, str]]:
    """Return pairs of a title and a text, without those that do not apply to this run."""
    stats, training, data = run.stats, run.training or {}, run.plan.get("data") or {}
    batch = run.plan.get("batch") or {}
    total, trainable = stats.get("total_parameters"), stats.get("trainable_parameters")
    trained = run.plan["kind"] == "train"
    entries: list[tuple[str, str | None]] = [
        ("Kind", system_description(run)),
        ("Parameters", _with(numbers.count, total)),
        ("Trainable parameters", numbers.parameters(trainable or 0, total) if trained and total else None),
        ("Training data", _sources(data.get("train"))),
        ("Test data", _sources(data.get("test"))),
        ("Batch", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in batch.items() if value) or None),
        ("Optimizer steps", _with(numbers.count, training.get("steps"))),
        ("Epochs", _with(numbers.decimal, training.get("epochs"))),
        ("Training loss", _with(numbers.decimal, training.get("train_loss"))),
        ("Validation loss", _with(numbers.decimal, training.get("eval_loss"))),
        ("Best step", _with(numbers.count, training.get("best_step"))),
        ("Training time", _with(numbers.duration, training.get("seconds"))),
        ("Peak memory per device", _with(numbers.size, training.get("peak_memory_bytes"))),
        ("Precision", training.get("precision")),
        ("Attention", stats.get("global_attention")),
        ("Prediction time", _with(numbers.duration, stats.get("seconds"))),
        ("Exemplars in the prompts", _first_ids(stats.get("exemplars") or [])),
        ("Identity", run.plan.get("identity")),
        ("Git commit", run.plan.get("git_commit")),
    ]
    return [(title, text) for title, text in entries if text is not None]


def _sources(role: Mapping[str, Any] | None) -> str | None:
    """Return the sources of the dialogues of one role, and their number."""
    if not role or not role.get("sources"):
        return None
    names = (f"{each['path']} ({each['split']})" if each.get("split") else each["path"] for each in role["sources"])
    skipped = sum(each.get("skipped_rows", 0) for each in role["sources"])
    left_out = f"; empty rows skipped: {numbers.count(skipped)}" if skipped else ""
    return f"{', '.join(names)}: {numbers.count(role['dialogues'])} dialogues{left_out}"


def _first_ids(ids: Sequence[str], shown: int = 8) -> str | None:
    """Return the first ids; there may be many, because each dialogue can have different exemplars."""
    more = f" and {numbers.count(len(ids) - shown)} more" if len(ids) > shown else ""
    return f"{', '.join(ids[:shown])}{more}" if ids else None


def _with(format_: Any, value: Any) -> str | None:
    return None if value is None else format_(value)
