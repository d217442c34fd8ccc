"""Prepares the data of a run: reads, checks and splits it before anything is started."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from typing_extensions import assert_never

from summtune.base import numbers
from summtune.base.errors import DataError
from summtune.base.files import write_jsonl
from summtune.base.hashing import content_sha256
from summtune.base.places import BUILTIN_DATASETS, is_local
from summtune.data.grouping import repeated_sentence
from summtune.data.leakage import NearCopy, near_copies
from summtune.data.reading import LoadedDialogues, read_dialogues
from summtune.evaluator.diagnostics import unread
from summtune.plan.beginning import PromptData, RoleData, Source, TrainData
from summtune.prompts.exemplars import check_exemplars
from summtune.recipe.keys import EndpointRecipe, PromptRecipe, RunRecipe, TrainRecipe, data_keys
from summtune.recipe.sections import DatasetSource
from summtune.runs.diagnostics import Finding, LeakedDialogues
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES

LEAKAGE_EXAMPLES = 5
"""How many of the leaked test dialogues the plan names."""


def prepare_data(recipe: RunRecipe, into: Path, warn: Callable[[str], None]) -> PromptData | TrainData:
    """Write the dialogues of each role below ``into`` and return what the plan records about them.

    Args:
        recipe: paths resolved.
        into: folder in which ``data/*.jsonl`` is written.
        warn: called with each warning: grouped rows, test dialogues that are also in the training data or among the
            exemplars, references that ROUGE cannot read.

    Raises:
        DataError: a data set cannot be read, a row cannot be used, or too little data is left.
    """
    match recipe:
        case PromptRecipe() | EndpointRecipe():
            return _prompt_data(recipe, into, warn)
        case TrainRecipe():
            return _train_data(recipe, into, warn)
    assert_never(recipe)


def on_the_hub(recipe: RunRecipe) -> bool:
    """Return whether data is downloaded, for which the hub's library shows its own bars."""
    return not all(_is_here(source) for _, sources in data_keys(recipe) for source in sources)


def _is_here(source: DatasetSource) -> bool:
    return is_local(source.path) or source.path in BUILTIN_DATASETS


def _prompt_data(recipe: PromptRecipe | EndpointRecipe, into: Path, warn: Callable[[str], None]) -> PromptData:
    test = _read(recipe.test_datasets, "test")
    chosen = recipe.exemplars
    pool = None if recipe.datasets is None else _read(_with_split(recipe.datasets, chosen.split), "exemplars")
    for role in filter(None, (test, pool)):
        _tell(role, warn)
    leakage: dict[Literal["exemplars"], LeakedDialogues] = {}
    if pool is not None:
        check_exemplars(pool.dialogues, test.dialogues, recipe.shots, chosen.choose, chosen.ids or ())
        leakage["exemplars"] = _leakage("exemplars", test, pool, warn)
    _warn_of_unread_letters(recipe, test, warn)
    return PromptData(
        test=_write(test, into),
        exemplars=None if pool is None else _write(pool, into),
        leakage=leakage,
    )


def _train_data(recipe: TrainRecipe, into: Path, warn: Callable[[str], None]) -> TrainData:
    test, train = _read(recipe.test_datasets, "test"), _read(recipe.datasets, "train")
    validation = None if recipe.val_datasets is None else _read(recipe.val_datasets, "validation")
    for role in filter(None, (test, train, validation)):
        _tell(role, warn)
    overlap = None
    if validation is None:
        kept, held_out = split_validation(train.dialogues, recipe.val_set_size, recipe.seed)
        train, validation = replace(train, dialogues=kept), replace(train, role="validation", dialogues=held_out)
    else:
        overlap = _overlap(validation, train, warn)
    leakage: dict[Literal["train", "validation"], LeakedDialogues] = {"train": _leakage("train", test, train, warn)}
    if validation.dialogues:
        leakage["validation"] = _leakage("validation", test, validation, warn)
    # Before the training and not only with the scores, because another tokenizer makes it another run.
    _warn_of_unread_letters(recipe, test, warn)
    return TrainData(
        test=_write(test, into),
        train=_write(train, into),
        validation=_write(validation, into) if validation.dialogues else None,
        leakage=leakage,
        overlap=overlap,
    )


@dataclass(frozen=True)
class _Role:
    """The dialogues of one role, and the data sets that were read for it."""

    role: str
    dialogues: Sequence[Dialogue]
    loaded: LoadedDialogues


def _read(sources: Sequence[DatasetSource], role: str) -> _Role:
    loaded = read_dialogues(sources, "train" if role == "exemplars" else role)
    return _Role(role, loaded.dialogues, loaded)


def _write(role: _Role, into: Path) -> RoleData:
    path = into / DATA_FILES[role.role]
    write_jsonl(path, (dialogue.to_json() for dialogue in role.dialogues))
    return RoleData(
        dialogues=len(role.dialogues),
        pairs=sum(len(dialogue.references) for dialogue in role.dialogues),
        sha256=content_sha256(path),
        sources=[Source(**vars(info)) for info in role.loaded.sources],
    )


def _leakage(name: str, test: _Role, training: _Role, warn: Callable[[str], None]) -> LeakedDialogues:
    found = find_leakage(test.dialogues, training.dialogues)
    if found.count:
        warn(_leakage_sentence(name, found))
    return found


def _overlap(validation: _Role, train: _Role, warn: Callable[[str], None]) -> LeakedDialogues:
    found = find_leakage(validation.dialogues, train.dialogues)
    if found.count:
        warn(
            f"{found.count} of {found.of} validation dialogues are also in the training data, exactly or nearly; the "
            f"evaluation loss is lower than on new dialogues (for instance {_named(found)})"
        )
    return found


def _warn_of_unread_letters(recipe: RunRecipe, test: _Role, warn: Callable[[str], None]) -> None:
    if any(map(numbers.is_fraction, recipe.evaluation.metrics)):
        tests = ((each.id, each.references) for each in test.dialogues)
        for sentence in unread.warnings(unread.unread_letters(tests, recipe.evaluation.tokenizer)):
            warn(sentence)


def find_leakage(tests: Sequence[Dialogue], training: Sequence[Dialogue]) -> LeakedDialogues:
    """Return how many of the ``tests`` are also in ``training``, exactly or nearly.

    Each example names the training dialogue that contains most of the test dialogue, and how much of it
    (`summtune.data.leakage.near_copies`).
    """
    best: dict[int, NearCopy] = {}
    for copy in near_copies([each.dialogue for each in tests], (each.dialogue for each in training)):
        if copy.test not in best or copy.similarity > best[copy.test].similarity:
            best[copy.test] = copy
    examples = []
    for copy in sorted(best.values(), key=lambda copy: copy.test)[:LEAKAGE_EXAMPLES]:
        found = f"{training[copy.training].id}: {int(100 * copy.similarity)} % of its five-word runs"
        examples.append(Finding(id=tests[copy.test].id, found=found))
    return LeakedDialogues(count=len(best), of=len(tests), examples=tuple(examples))


def _leakage_sentence(role: str, found: LeakedDialogues) -> str:
    where = {"exemplars": "among the exemplars", "train": "in the training data"}.get(role, f"in the {role} data")
    return (
        f"{found.count} of {found.of} test dialogues are also {where}, exactly or nearly; do not trust the scores "
        f"(for instance {_named(found)})"
    )


def _named(found: LeakedDialogues) -> str:
    return "; ".join(f"{each.id} in {each.found}" for each in found.examples[:3])


def count_pairs(recipe: TrainRecipe) -> int | None:
    """Return the number of dialogue-summary pairs of a training; None if some of its data is on the hub.

    Raises:
        DataError: the data cannot be used.
    """
    if not all(map(_is_here, recipe.datasets)):
        return None
    train, _ = split_validation(read_dialogues(recipe.datasets, "train").dialogues, recipe.val_set_size, recipe.seed)
    return sum(len(dialogue.references) for dialogue in train)


def split_validation(dialogues: Sequence[Dialogue], size: float, seed: int) -> tuple[list[Dialogue], list[Dialogue]]:
    """Return (training, validation) dialogues, each in the original order.

    Args:
        dialogues: to split.
        size: number of validation dialogues, or their share if below 1.
        seed: of the random choice of validation dialogues.

    Raises:
        DataError: no training or no validation dialogues would be left.
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


def _tell(each: _Role, warn: Callable[[str], None]) -> None:
    role, reading = each.role, each.loaded
    if reading.skipped_sentence:
        warn(f"{role}: {reading.skipped_sentence}")
    if reading.system_sentence:
        warn(f"{role}: {reading.system_sentence}; system_prompt gives a chat model one")
    if reading.repeated_ids:
        warn(f"{role}: {repeated_sentence(reading.repeated_ids)}; their summaries count as further references")
    if reading.doubled_references:
        repeated = numbers.counted(reading.doubled_references, "repeated row")
        warn(f"{role}: {repeated} (same dialogue and same summary); each counts once")
