"""Reads, checks and divides the data of a run before anything is started."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from summtune.base import numbers
from summtune.base.errors import DataError
from summtune.base.files import write_jsonl
from summtune.base.hashing import content_sha256
from summtune.base.places import BUILTIN_DATASETS, is_local
from summtune.data.grouping import repeated_sentence
from summtune.data.leakage import NearCopy, near_copies
from summtune.data.reading import LoadedDialogues, read_dialogues
from summtune.evaluator.diagnostics import unread
from summtune.prompts.exemplars import check_exemplars
from summtune.recipe.keys import DatasetSource, Recipe
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES

LEAKAGE_EXAMPLES = 5
"""Test dialogues that the plan names among those that are trained on."""


def prepare_data(recipe: Recipe, into: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """Write the dialogues of each role below ``into`` and return what the plan says of them.

    Args:
        recipe: of kind prompt or train, paths resolved.
        into: folder that gets ``data/*.jsonl``.
        warn: called with what a person should know: grouped rows, test dialogues that are trained on, references
            that ROUGE cannot read.

    Returns:
        For each role: ``dialogues``, ``pairs`` (dialogue-summary pairs), ``sha256`` and ``sources``. Where there is
        training data or exemplars, ``leakage`` by role: what `find_leakage` returns.

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
    if "exemplars" in roles:
        chosen = recipe.exemplars
        check_exemplars(roles["exemplars"], roles["test"], recipe.shots, chosen.choose, chosen.ids or ())
    if recipe.kind == "train":
        roles["train"], held_out = split_validation(roles["train"], recipe.val_set_size, recipe.seed)
        if held_out:
            roles["validation"] = held_out
    leakage = {role: find_leakage(roles["test"], roles[role]) for role in ("train", "exemplars") if role in roles}
    for role, found in leakage.items():
        if found["count"]:
            warn(_leakage_sentence(role, found))
    if any(map(numbers.is_fraction, recipe.evaluation.metrics)):
        # Before the training and not only with the scores: another tokenizer makes another run.
        tests = ((each.id, each.references) for each in roles["test"])
        for sentence in unread.warnings(unread.unread_letters(tests, recipe.evaluation.tokenizer)):
            warn(sentence)
    summary: dict[str, Any] = {}
    for role, dialogues in roles.items():
        path = into / DATA_FILES[role]
        write_jsonl(path, (dialogue.to_json() for dialogue in dialogues))
        reading = readings["train" if role == "validation" else role]
        summary[role] = {
            "dialogues": len(dialogues),
            "pairs": sum(len(dialogue.references) for dialogue in dialogues),
            "sha256": content_sha256(path),
            "sources": [info.__dict__ for info in reading.sources],
        }
    if leakage:
        summary["leakage"] = leakage
    return summary


def find_leakage(tests: Sequence[Dialogue], training: Sequence[Dialogue]) -> dict[str, Any]:
    """Return how many of the ``tests`` are, wholly or nearly, in ``training``, as ``leakage`` of the plan holds it.

    Returns:
        ``count`` of ``of`` test dialogues, and ``examples``: the first of them by ``id``, each with the training
        dialogue that has most of it, and how much (`summtune.data.leakage.near_copies`).
    """
    best: dict[int, NearCopy] = {}
    for copy in near_copies([each.dialogue for each in tests], (each.dialogue for each in training)):
        if copy.test not in best or copy.similarity > best[copy.test].similarity:
            best[copy.test] = copy
    examples = []
    for copy in sorted(best.values(), key=lambda copy: copy.test)[:LEAKAGE_EXAMPLES]:
        found = f"{training[copy.training].id}: {int(100 * copy.similarity)} % of its five-word runs"
        examples.append({"id": tests[copy.test].id, "found": found})
    return {"count": len(best), "of": len(tests), "examples": examples}


def _leakage_sentence(role: str, found: Mapping[str, Any]) -> str:
    where = "in the train data" if role == "train" else "among the exemplars"
    examples = "; ".join(f"{each['id']} in {each['found']}" for each in found["examples"][:3])
    return (
        f"{found['count']} of {found['of']} test dialogues are also {where}, wholly or nearly; the scores are not to "
        f"be trusted (for instance {examples})"
    )


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
        DataError: nothing would be left to train on, or to validate with.
    """
    count = int(size) if size >= 1 else round(size * len(dialogues))
    if size > 0 and not 0 < count < len(dialogues):
        one = len(dialogues) == 1
        what, advice = ("validation", "raise it") if count == 0 else ("training", "lower it")
        raise DataError(
            f"val_set_size leaves no {what} data (got {size} of {len(dialogues)} dialogue{'' if one else 's'}); "
            f"{'add dialogues, or remove it' if one else advice}"
        )
    held_out = set(random.Random(f"validation/{seed}").sample(range(len(dialogues)), count))
    train = [dialogue for index, dialogue in enumerate(dialogues) if index not in held_out]
    return train, [dialogue for index, dialogue in enumerate(dialogues) if index in held_out]


def _with_split(sources: Sequence[DatasetSource], split: str | None) -> list[DatasetSource]:
    return [source if split is None else source.model_copy(update={"split": split}) for source in sources]


def _tell(role: str, reading: LoadedDialogues, warn: Callable[[str], None]) -> None:
    if reading.skipped_sentence:
        warn(f"{role}: {reading.skipped_sentence}")
    if reading.repeated_ids:
        warn(f"{role}: {repeated_sentence(reading.repeated_ids)}; their summaries count as further references of it")
    if reading.doubled_references:
        warn(
            f"{role}: {reading.doubled_references} rows repeat a dialogue and its summary word for word, and count once"
        )
