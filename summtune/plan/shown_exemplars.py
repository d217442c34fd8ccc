"""Chooses the solved examples that the prompts of a run show, from its plan and its data."""

from __future__ import annotations

from pathlib import Path

from summtune.base.files import read_jsonl
from summtune.plan.plan import RunPlan, TrainPlan
from summtune.prompts.exemplars import choose_exemplars
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES


def shown_exemplars(plan: RunPlan, run_dir: Path) -> list[tuple[Dialogue, ...]] | None:
    """Return the exemplars of each test dialogue, in their order; None if the prompts show none.

    Args:
        plan: of the run.
        run_dir: with its data.
    """
    if isinstance(plan, TrainPlan) or plan.recipe.shots == 0:
        return None
    recipe, chosen = plan.recipe, plan.recipe.exemplars
    # All of the data at once: which dialogues may be shown depends on all that are summarized.
    pool, dialogues = (
        [Dialogue.from_json(row) for row in read_jsonl(run_dir / DATA_FILES[role])] for role in ("exemplars", "test")
    )
    return choose_exemplars(pool, dialogues, recipe.shots, chosen.choose, chosen.ids or (), recipe.seed)
