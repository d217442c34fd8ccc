"""Make English everyday dialogues with summaries: the data set ``builtin/dialogues`` and an endless stream.

Each dialogue is composed from a scenario family (``families.txt``): a request, a question, an answer, an outcome, and
around them small talk, asides, greetings and slips of the tongue that no summary may repeat. Persons are called
``#Person1#`` and ``#Person2#`` as in DialogSum (Chen et al., 2021), of which nothing was copied.

Held out for the test split, by construction: every first name and city; in each family a quarter or more of the
things, places and reasons; and in each turn's list of phrasings some that no other split uses (the request is always
one of them, every other turn with probability one half). Weekdays, times, prices and numbers come from the same
ranges everywhere. The wordings of the summaries are the same three in all splits: one of them, by chance, in train
and validation, all in test.
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
        seed: another seed gives other dialogues of the same kind.

    Raises:
        DataError: there is no such split.
    """
    if split not in SPLITS:
        raise DataError(f"builtin/dialogues has no such split (got {split!r}); use {', '.join(SPLITS)}")
    return _split(split, seed)


def stream(seed: int = 0, invented: float = 0.0) -> Iterator[Dialogue]:
    """Yield dialogues without end, with one reference each, from what the train split is made of.

    Memory does not grow, so repetitions are possible; they are rare (72 among the first million of seed 0).

    Args:
        seed: where the chances come from.
        invented: probability that a dialogue's names and things are made-up words.
    """
    rng = Random(f"summtune stream {seed}")
    place = 0
    while True:
        yield _record(f"stream_{place}", draw_scene(rng, invented=invented), (rng.randrange(WORDINGS),))
        place += 1


def _split(split: str, seed: int) -> Iterator[Dialogue]:
    held_out = split == "test"
    rng = Random(f"summtune dialogues {'test' if held_out else 'train'} {seed}")
    # Validation goes on where train ends, so that the two cannot share a dialogue.
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
