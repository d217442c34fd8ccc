"""Reads the tokens of the test dialogues' prompts, with the exemplars that they show."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from summtune.base.hashing import content_sha256
from summtune.plan.plan import LocalPlan
from summtune.plan.shown_exemplars import shown_exemplars
from summtune.runs.events import Events
from summtune.runs.run_directory import DATA_FILES, TOKENS
from summtune.work.tokens.loss_warnings import tell_losses
from summtune.work.tokens.planned import asking_encoder_of
from summtune.work.tokens.tokens import Shown, Tokens, tokens_of


def asked_tokens(plan: LocalPlan, run_dir: Path, tokenizer: PreTrainedTokenizerBase, events: Events) -> Tokens:
    """Return the tokens of the test dialogues; warn of dialogues that are cut, and of text the tokenizer cannot write.

    Every test dialogue is summarized and scored: those that are too long to train on are cut here.
    """
    encoder, exemplars = asking_encoder_of(plan, tokenizer), exemplars_of(plan, run_dir)
    tokens = tokens_of(run_dir / DATA_FILES["test"], encoder, None, run_dir / TOKENS, events, exemplars)
    if tokens.truncated:
        events.warn(
            f"{tokens.truncated} of {len(tokens.prompts)} dialogues exceed sequence_len {encoder.sequence_len} and are "
            "cut"
        )
    tell_losses("test", tokens.lost, events)
    return tokens


def exemplars_of(plan: LocalPlan, run_dir: Path) -> Shown | None:
    """Return the solved examples that the prompts show; None without any."""
    recipe = plan.recipe
    if recipe.kind == "train" or recipe.shots == 0:
        return None
    determined_by = [
        content_sha256(run_dir / DATA_FILES["exemplars"]),
        recipe.shots,
        recipe.seed,
        recipe.exemplars.model_dump(mode="json"),
    ]
    return Shown(determined_by, lambda: shown_exemplars(plan, run_dir) or [])
