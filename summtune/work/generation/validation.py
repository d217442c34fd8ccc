"""Has a trained model summarize some validation dialogues, to see whether it stops by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from summtune.base.files import read_jsonl
from summtune.generation.distinct import DistinctPrompts
from summtune.generation.generator import Generator
from summtune.generation.partial import read_outputs
from summtune.generation.resuming import ALONE, World, generate_missing
from summtune.plan.plan import LocalPlan, TrainPlan
from summtune.runs.events import Events
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES, PARTIAL_PREDICTIONS
from summtune.runs.stopping import Stopping
from summtune.work.tokens.planned import asking_encoder_of

_MOST = 64
"""Validation dialogues that are summarized: enough to tell nine of ten from eight of ten, and little next to a test."""


def stopping_in_validation(
    plan: LocalPlan,
    run_dir: Path,
    tokenizer: PreTrainedTokenizerBase,
    generator: Generator[Sequence[int]],
    events: Events,
    world: World = ALONE,
) -> Stopping | None:
    """Return how often the model ends its summaries by itself.

    None without validation data, and for a smoke run, whose model has hardly been trained.

    Args:
        plan: of the run.
        run_dir: with the data, and the outputs that a killed run has left.
        tokenizer: of the model.
        generator: of this rank.
        events: to the waiting command.
        world: the ranks that generate.
    """
    data = run_dir / DATA_FILES["validation"]
    if not isinstance(plan, TrainPlan) or plan.pause_after is not None or not data.is_file():
        return None
    dialogues = [Dialogue.from_json(row) for row in read_jsonl(data)]
    chosen = np.unique(np.linspace(0, len(dialogues) - 1, _MOST).astype(int)).tolist()
    encoded = asking_encoder_of(plan, tokenizer).encode([dialogues[place] for place in chosen])
    asked = DistinctPrompts[Sequence[int]].of(prompt.ids for prompt in encoded)
    folder = run_dir / PARTIAL_PREDICTIONS
    generate_missing(generator, asked, folder, lambda *_: None, world)
    outputs = read_outputs(folder)
    found = Stopping.of("validation", (outputs[asked.keys[index]].hit_length_cap for index in asked.indices))
    if found.warning is not None:
        events.warn(found.warning)
    return found
