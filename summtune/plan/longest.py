"""Chooses the longest pairs of a training set: those with which a step takes the most memory and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from summtune.plan.prompt_format import prompt_format
from summtune.prompts.rendering import rendering_of
from summtune.recipe.keys import TrainRecipe
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import timestamp

_CANDIDATES = 4
"""Times as many pairs as are chosen are tokenized, because the most characters need not be the most tokens."""


@dataclass(frozen=True)
class LongestPairs:
    """The longest pairs of a training set.

    Args:
        dialogues: each with those of its summaries that form chosen pairs, in the order of the training set.
        pairs: how many there are.
        ratio: their mean length in characters, dialogue and summary, divided by that of all pairs.
    """

    dialogues: list[Dialogue]
    pairs: int
    ratio: float


def longest_pairs(dialogues: Sequence[Dialogue], count: int, recipe: TrainRecipe, model: Path) -> LongestPairs:
    """Return the ``count`` longest pairs, or all if there are fewer.

    The length is the number of tokens that the model reads: at most ``sequence_len`` of the prompt and ``target_len``
    of the summary. Only the pairs with the most characters are tokenized, so a large training set takes no longer.

    Args:
        dialogues: the training set.
        count: at least 1.
        recipe: with the prompt and the lengths; where it drops long dialogues, none of them is chosen.
        model: folder of the model, whose tokenizer counts; without a tokenizer.json, characters count.
    """
    pairs = [(each, number) for each in dialogues for number in range(len(each.references))]
    characters = [len(each.dialogue) + len(each.references[number]) for each, number in pairs]
    order = sorted(range(len(pairs)), key=lambda index: -characters[index])
    read = _reader(recipe, model)
    lengths: dict[int, int] = {}
    for index in order:
        length = read(pairs[index][0].dialogue, pairs[index][0].references[pairs[index][1]])
        if length is not None:
            lengths[index] = length
        if len(lengths) == _CANDIDATES * count:
            break
    # If all are dropped, the training itself reports it.
    chosen = sorted(lengths, key=lambda index: -lengths[index])[:count] or order[:count]
    numbers: dict[int, list[int]] = {}
    for index in sorted(chosen):
        numbers.setdefault(id(pairs[index][0]), []).append(pairs[index][1])
    return LongestPairs(
        dialogues=[
            replace(each, references=tuple(each.references[number] for number in numbers[id(each)]))
            for each in dialogues
            if id(each) in numbers
        ],
        pairs=len(chosen),
        ratio=fmean(characters[index] for index in chosen) / fmean(characters),
    )


def _reader(recipe: TrainRecipe, model: Path) -> Callable[[str, str], int | None]:
    """Return what counts the tokens that the model reads of a dialogue and a summary; None of a dropped dialogue."""
    path = model / "tokenizer.json"
    if not path.is_file():
        return lambda dialogue, summary: len(dialogue) + len(summary)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rendering = rendering_of(prompt_format(recipe, model, timestamp()[:10]))

    def read(dialogue: str, summary: str) -> int | None:
        prompt = len(tokenizer.encode(rendering.prompt(dialogue, ())))
        if recipe.long_dialogues == "drop" and prompt > recipe.sequence_len:
            return None
        return min(prompt, recipe.sequence_len) + min(len(tokenizer.encode(summary)), recipe.target_len)

    return read
