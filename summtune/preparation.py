"""Reads, checks and divides the data of a run before anything is started."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from summtune.data.reading import Reading, read_dialogues
from summtune.errors import DataError
from summtune.files import write_jsonl
from summtune.paths import BUILTIN_DATASETS, is_local
from summtune.recipe import DatasetSource, Recipe
from summtune.records import Dialogue
from summtune.run_directory import DATA_FILES


def prepare_data(recipe: Recipe, into: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """Write the dialogues of each role below ``into`` and return what the plan says of them.

    Args:
        recipe: of kind prompt or train, paths resolved.
        into: folder that gets ``data/*.jsonl``.
        warn: called with what a person should know: grouped rows, test dialogues that are trained on.

    Returns:
        For each role: ``dialogues``, ``pairs`` (dialogue-summary pairs), ``sha256`` and ``sources``.

    Raises:
        DataError: a data set cannot be read, a row cannot be used, or too little is left.
    """
    assert recipe.test_datasets is not None
    readings = {"test": read_dialogues(recipe.test_datasets, "test")}
    if recipe.datasets is not None:
        role = "train" if recipe.kind == "train" else "exemplars"
        sources = _with_split(recipe.datasets, recipe.exemplars.split if role == "exemplars" else None)
        readings[role] = read_dialogues(sources, "train")
    roles = {role: reading.dialogues for role, reading in readings.items()}
    for role, reading in readings.items():
        _tell(role, reading, warn)
    if recipe.kind == "train":
        roles["train"], held_out = split_validation(roles["train"], recipe.val_set_size, recipe.seed)
        if held_out:
            roles["validation"] = held_out
    for role in ("train", "exemplars"):
        shared = {item.dialogue for item in roles.get(role, ())} & {item.dialogue for item in roles["test"]}
        if shared:
            warn(
                f"{len(shared)} of {len(roles['test'])} test dialogues are also in the {role} data; "
                "the scores are not to be trusted"
            )
    summary: dict[str, Any] = {}
    for role, dialogues in roles.items():
        path = into / DATA_FILES[role]
        write_jsonl(path, (dialogue.to_json() for dialogue in dialogues))
        reading = readings["train" if role == "validation" else role]
        summary[role] = {
            "dialogues": len(dialogues),
            "pairs": sum(len(dialogue.references) for dialogue in dialogues),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "sources": [info.__dict__ for info in reading.sources],
        }
    return summary


def count_pairs(recipe: Recipe) -> int | None:
    """Return the dialogue-summary pairs that a training recipe trains on; None while they are on the hub only.

    Raises:
        DataError: the data cannot be used.
    """
    assert recipe.datasets is not None
    if not all(is_local(source.path) or source.path in BUILTIN_DATASETS for source in recipe.datasets):
        return None
    train, _ = split_validation(read_dialogues(recipe.datasets, "train").dialogues, recipe.val_set_size, recipe.seed)
    return sum(len(dialogue.references) for dialogue in train)


def split_validation(dialogues: Sequence[Dialogue], size: float, seed: int) -> tuple[list[Dialogue], list[Dialogue]]:
    """Return (training, validation) dialogues, each in their original order.

    Args:
        dialogues: all of them.
        size: dialogues held out, or their share when below 1.
        seed: decides which.

    Raises:
        DataError: nothing would be left to train on.
    """
    count = int(size) if size >= 1 else round(size * len(dialogues))
    if size > 0 and not 0 < count < len(dialogues):
        raise DataError(
            f"val_set_size leaves no training or no validation data (got {size} of {len(dialogues)} dialogues); "
            "lower it"
        )
    held_out = set(random.Random(f"validation/{seed}").sample(range(len(dialogues)), count))
    train = [dialogue for index, dialogue in enumerate(dialogues) if index not in held_out]
    return train, [dialogue for index, dialogue in enumerate(dialogues) if index in held_out]


def _with_split(sources: Sequence[DatasetSource], split: str | None) -> list[DatasetSource]:
    return [source if split is None else source.model_copy(update={"split": split}) for source in sources]


def _tell(role: str, reading: Reading, warn: Callable[[str], None]) -> None:
    if reading.doubled_references:
        warn(
            f"{role}: {reading.doubled_references} rows repeat a dialogue and its summary word for word, and count once"
        )
