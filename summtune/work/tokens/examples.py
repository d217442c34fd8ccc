"""Reads the tokens of the training and validation data, and reports what is cut, left out or lost."""

from __future__ import annotations

from pathlib import Path

from summtune.base.errors import DataError
from summtune.plan.plan import TrainPlan
from summtune.runs.events import Events
from summtune.runs.run_directory import DATA_FILES, TOKENS
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.loss_warnings import tell_losses
from summtune.work.tokens.tokens import Tokens, tokens_of


def read_examples(
    plan: TrainPlan, run_dir: Path, encoder: PromptEncoder, ends: tuple[int, ...], events: Events
) -> dict[str, Tokens]:
    """Return the tokens of the training data and of any validation data, by role.

    Each has one pair per reference of a dialogue.

    Args:
        plan: of the training.
        run_dir: with the data that the command prepared.
        encoder: of the prompts.
        ends: the ids that end a generated summary.
        events: to the waiting command.

    Raises:
        DataError: no dialogue of a role is left.
    """
    roles = [role for role in ("train", "validation") if (run_dir / DATA_FILES[role]).exists()]
    return {role: _read(plan, run_dir, role, encoder, ends, events) for role in roles}


def _read(
    plan: TrainPlan,
    run_dir: Path,
    role: str,
    encoder: PromptEncoder,
    ends: tuple[int, ...],
    events: Events,
) -> Tokens:
    recipe = plan.recipe
    tokens = tokens_of(run_dir / DATA_FILES[role], encoder, ends, run_dir / TOKENS, events)
    dialogues, cut, pairs = len(tokens.prompts), tokens.truncated, tokens.pairs
    if not pairs:
        others = "" if role == "train" else ", or remove val_set_size or val_datasets"
        why = (
            f", of which {cut} exceed sequence_len {recipe.sequence_len} and are left out by `long_dialogues: drop`); "
            f"raise sequence_len or use `long_dialogues: truncate_end`{others}"
            if cut
            else f"); see {run_dir / DATA_FILES[role]}"
        )
        raise DataError(f"{role}: no dialogue is left (got {dialogues}{why}")
    if cut:
        done = "left out" if recipe.long_dialogues == "drop" else "cut"
        events.warn(f"{role}: {cut} of {dialogues} dialogues exceed sequence_len {recipe.sequence_len} and are {done}")
    tell_losses(role, tokens.lost, events)
    return tokens
