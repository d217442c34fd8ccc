"""Generates everyday English dialogues with summaries: the data set ``builtin/dialogues`` and an endless stream.

Each dialogue is composed from a scenario family (``families.txt``): a request, a question, an answer and an outcome,
surrounded by small talk, asides, greetings and slips of the tongue that no summary may repeat. Persons are called
``#Person1#`` and ``#Person2#`` as in DialogSum (Chen et al., 2021), from which nothing was copied.

Held out for the test split, by construction: every first name and city; in each family, at least a quarter of the
things, places and reasons; and in each turn's list, some phrasings (the request always uses one of them, every other
turn with probability one half). Weekdays, times, prices and numbers come from the same ranges in all splits. So do the
three wordings of the summaries: train and validation use a random one of them, test uses all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from summtune.base.errors import DataError
from summtune.data.builtin.families import WORDINGS
from summtune.data.builtin.scenes import Scene, draw_scene
from summtune.runs.records import Dialogue

SPLITS = {"train": 1000, "validation": 100, "test": 200}


def dialogues(split: str, seed: int = 0) -> Iterator[Dialogue]:
    """Yield the dialogues of a split: the same ones for the same seed, on every Python.

    Args:
        split: ``train`` (1,000, one reference), ``validation`` (100, one reference) or ``test`` (200, three
            references).
        seed: another seed gives other dialogues with the same distribution.

    Raises:
        DataError: there is no such split.
    """
    if split not in SPLITS:
        raise DataError(f"builtin/dialogues has no such split (got {split!r}); use {', '.join(SPLITS)}")
    return _split(split, seed)


def stream(seed: int = 0, invented: float = 0.0) -> Iterator[Dialogue]:
    """Yield an endless stream of dialogues, with one reference each, from the distribution of the train split.

    Memory does not grow, so repetitions are possible; they are rare (72 among the first million of seed 0).

    Args:
        seed: of the random generator.
        invented: probability that a dialogue's names and things are made-up words.
    """
    rng = Random(f"summtune stream {seed}")
    number = 0
    while True:
        yield _record(f"stream_{number}", draw_scene(rng, invented=invented), (rng.randrange(WORDINGS),))
        number += 1


def _split(split: str, seed: int) -> Iterator[Dialogue]:
    held_out = split == "test"
    rng = Random(f"summtune dialogues {'test' if held_out else 'train'} {seed}")
    # Validation continues where train ends, so that they cannot share a dialogue.
    skip = SPLITS["train"] if split == "validation" else 0
    seen: set[str] = set()
    while len(seen) < skip + SPLITS[split]:
        record = _record(
            f"{split}_{len(seen) - skip}",
            draw_scene(rng, held_out=held_out),
            tuple(range(WORDINGS)) if held_out else (rng.randrange(WORDINGS),),
        )
        if record.dialogue in seen:
            continue
        seen.add(record.dialogue)
        if len(seen) > skip:
            yield record


def _record(name: str, scene: Scene, wordings: tuple[int, ...]) -> Dialogue:
    return Dialogue(name, scene.dialogue(), tuple(scene.summary(wording) for wording in wordings))
