"""The process that shows what the model of a recipe reads and is trained on; it needs no weights.

    summtune.work.supervision.inspection RUN_DIR EXAMPLES

RUN_DIR holds the plan and the data, as the command writes them before it starts a worker. The process prints one JSON
object, `summtune.runs.inspection.Inspection`.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from summtune.base.errors import InputError
from summtune.base.printing import show_json
from summtune.plan.plan import LocalPlan, TrainPlan, read_local_plan
from summtune.recipe.families import facts_about
from summtune.runs.events import Events
from summtune.runs.inspection import Inspection, ShownRole
from summtune.runs.run_directory import DATA_FILES
from summtune.runs.supervision import EndToken, Supervision
from summtune.work.generation.stop_texts import stops_of
from summtune.work.models.families import family_named
from summtune.work.models.family import BatchNeeds
from summtune.work.models.loading import load_config, load_tokenizer
from summtune.work.models.model_check import check_model
from summtune.work.supervision.proof import Proof, template_of
from summtune.work.supervision.showing import asked_role, trained_role
from summtune.work.tokens.asked import asked_tokens, exemplars_of
from summtune.work.tokens.completions import all_ends
from summtune.work.tokens.planned import asking_encoder_of, encoder_of


def main(arguments: list[str]) -> None:
    """Print the inspection of a run directory; see the module."""
    run_dir, count = Path(arguments[0]), int(arguments[1])
    with contextlib.redirect_stdout(sys.stderr):
        found = inspection(read_local_plan(run_dir), run_dir, count)
    show_json(found.to_json(), indent=None)


def inspection(plan: LocalPlan, run_dir: Path, count: int) -> Inspection:
    """Return what the model is shown and trained on.

    Args:
        plan: of the run.
        run_dir: with its data, and a folder for logs.
        count: how many examples of a role to show.
    """
    recipe = plan.recipe
    template, template_sha256 = template_of(plan.prompt)
    found: dict[str, Any] = {"ends": (), "roles": {}, "supervision": None, "problems": ()}
    try:
        found |= _of_tokens(plan, run_dir, count)
    except InputError as error:
        found["problems"] = tuple(str(error).splitlines())
    return Inspection(
        recipe=plan.name,
        model=recipe.base_model,
        template=template,
        template_sha256=template_sha256,
        stops=tuple(stops_of(plan)),
        max_new_tokens=recipe.generation.max_new_tokens,
        sequence_len=recipe.sequence_len,
        target_len=recipe.target_len if recipe.kind == "train" else None,
        **found,
    )


def _of_tokens(plan: LocalPlan, run_dir: Path, count: int) -> dict[str, Any]:
    folder = Path(plan.model.folder)
    tokenizer = load_tokenizer(folder)
    needs = check_model(folder, tokenizer, plan.recipe)
    ends = all_ends(encoder_of(plan, tokenizer), needs.ends)
    roles: dict[str, ShownRole] = {}
    supervision: Supervision | None = None
    problems: tuple[str, ...] = ()
    if isinstance(plan, TrainPlan):
        proof = Proof.of(plan, run_dir, tokenizer, ends, Events(run_dir, "inspect", 0))
        supervision, problems = _proved(proof, plan, needs)
        for role, tokens in proof.examples.items():
            roles[role] = trained_role(tokens, run_dir / DATA_FILES[role], proof.lesson.encoder, count)
    asked = asked_tokens(plan, run_dir, tokenizer, Events(run_dir, "inspect", 0))
    shown = exemplars_of(plan, run_dir)
    exemplars = shown.choose() if shown else ()
    roles["test"] = asked_role(
        asked, run_dir / DATA_FILES["test"], asking_encoder_of(plan, tokenizer), exemplars, count
    )
    named = (EndToken(id=one, text=str(tokenizer.convert_ids_to_tokens(one))) for one in ends)
    return {"ends": tuple(named), "roles": roles, "supervision": supervision, "problems": problems}


def _proved(proof: Proof, plan: TrainPlan, needs: BatchNeeds) -> tuple[Supervision | None, tuple[str, ...]]:
    """Return what was checked, or what is wrong; batches are made for a model of the same shape without weights."""
    if proof.problems:
        return None, proof.problems
    family = family_named(plan.model.family)
    with torch.device("meta"):
        loader = getattr(transformers, facts_about(plan.model.family).auto_class())
        model = loader.from_config(load_config(Path(plan.model.folder)))
    problems = proof.problems_of_batches(family, family.collator(model, needs))
    return (None if problems else proof.supervision), problems


if __name__ == "__main__":
    main(sys.argv[1:])
