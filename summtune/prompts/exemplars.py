"""Chooses the solved examples that a one- or few-shot prompt shows before the dialogue."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import regex
from typing_extensions import assert_never

from summtune.base.errors import DataError
from summtune.base.hints import hint
from summtune.base.writing import UNSPACED_CHARACTER, UNSPACED_LETTER, characters, is_unspaced
from summtune.runs.records import Dialogue

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_WORD = regex.compile(rf"(?V1)(?:{UNSPACED_CHARACTER})+|[\w--{UNSPACED_LETTER}]+")
_TARGETS_AT_ONCE = 256
_TIE_DECIMALS = 9


def choose_exemplars(
    pool: Sequence[Dialogue],
    targets: Sequence[Dialogue],
    shots: int,
    choose: Literal["first", "random", "similar", "ids"],
    ids: Sequence[str],
    seed: int,
) -> list[tuple[Dialogue, ...]]:
    """Return the exemplars of each target, ``shots`` of them, in the order in which a prompt shows them.

    A dialogue is never an exemplar for its own text. ``first``, ``random`` and ``ids`` exclude dialogues that occur
    among the targets (``ids`` refuses them). ``first`` and ``ids`` give every target the same tuple. ``random`` draws
    separately for each target, as lm-evaluation-harness does, so that no lucky exemplar decides the score of a whole
    system; the draw depends on the seed, the pool and the target's text, not on its index or the other targets.
    ``similar`` gives each target the nearest dialogues of the pool by TF-IDF cosine (raw term counts × smoothed idf,
    unit length), the most similar one last, next to the target; ties are broken in favour of earlier dialogues.

    The choices of ``random`` and ``similar`` are nested: with more shots, the last ones are those of fewer shots, so
    prompts with one and with three shots differ only in the additional exemplars.

    Args:
        pool: the dialogues to choose from.
        targets: the dialogues to summarize.
        shots: number of exemplars in each prompt, from 0.
        choose: how they are chosen.
        ids: for ``ids``, the exemplars in the order in which they are shown.
        seed: for ``random``.

    Raises:
        DataError: fewer dialogues to choose from than ``shots``; or ids that are unknown, duplicate, too few, too many,
            or that name a dialogue to be summarized.
    """
    if shots == 0:
        return [()] * len(targets)
    if choose == "similar":
        return _similar(pool, targets, shots)
    target_texts = {target.dialogue.strip() for target in targets}
    if choose == "ids":
        return [_by_ids(pool, target_texts, shots, ids)] * len(targets)
    candidates = [one for one in pool if one.dialogue.strip() not in target_texts]
    _check_enough(len(candidates), shots, len(pool))
    if choose == "first":
        return [tuple(candidates[:shots])] * len(targets)
    if choose == "random":
        return _random(pool, targets, target_texts, shots, seed)
    assert_never(choose)


def check_exemplars(
    pool: Sequence[Dialogue],
    targets: Sequence[Dialogue],
    shots: int,
    choose: Literal["first", "random", "similar", "ids"],
    ids: Sequence[str],
) -> None:
    """Check the arguments of `choose_exemplars`, without choosing for every target.

    Raises:
        DataError: as `choose_exemplars` does.
    """
    if choose == "similar":  # for one target, only its own text is excluded
        own = {target.dialogue.strip() for target in targets} & {one.dialogue.strip() for one in pool}
        _check_enough(len(pool) - bool(own), shots, len(pool))
    else:
        choose_exemplars(pool, targets, shots, "ids" if choose == "ids" else "first", ids, 0)


def _check_enough(candidates: int, shots: int, pool: int) -> None:
    if candidates < shots:
        excluded = f" without the {pool - candidates} to be summarized" if candidates < pool else ""
        raise DataError(
            f"too few exemplars for shots: {shots} (got {candidates} to choose from{excluded});"
            " lower shots, or take exemplars from a larger split"
        )


def _by_ids(pool: Sequence[Dialogue], target_texts: set[str], shots: int, ids: Sequence[str]) -> tuple[Dialogue, ...]:
    if len(ids) != shots:
        raise DataError(f"exemplars.ids has {len(ids)} ids (got shots: {shots}); give exactly `shots` ids")
    doubled = [identity for identity, count in Counter(ids).items() if count > 1]
    if doubled:
        raise DataError(f"duplicate exemplar (got {', '.join(doubled)}); give each id once")
    by_id = {one.id: one for one in pool}
    unknown = [identity for identity in ids if identity not in by_id]
    if unknown:
        shown = ", ".join(f"{identity}{hint(identity, by_id)}" for identity in unknown)
        raise DataError(f"no such exemplar among the {len(pool)} dialogues of the split (got {shown}); correct the ids")
    chosen = tuple(by_id[identity] for identity in ids)
    leaked = [one.id for one in chosen if one.dialogue.strip() in target_texts]
    if leaked:
        raise DataError(f"an exemplar is in the test data (got {', '.join(leaked)}); choose another id or split")
    return chosen


def _random(
    pool: Sequence[Dialogue], targets: Sequence[Dialogue], target_texts: set[str], shots: int, seed: int
) -> list[tuple[Dialogue, ...]]:
    barred = {place for place, one in enumerate(pool) if one.dialogue.strip() in target_texts}
    chosen: list[tuple[Dialogue, ...]] = []
    for target in targets:
        rng = random.Random(f"exemplars/{seed}/{target.dialogue.strip()}")
        drawn: list[int] = []
        # Draw from the whole pool, and redraw excluded dialogues: another set of targets (a limit, one dialogue of a
        # finished run) then does not change the other draws. random.sample would not be nested.
        while len(drawn) < shots:
            place = rng.randrange(len(pool))
            if place not in barred and place not in drawn:
                drawn.append(place)
        chosen.append(tuple(pool[place] for place in reversed(drawn)))
    return chosen


def _similar(pool: Sequence[Dialogue], targets: Sequence[Dialogue], shots: int) -> list[tuple[Dialogue, ...]]:
    import numpy as np

    place = {one.dialogue.strip(): index for index, one in enumerate(pool)}
    assert len(place) == len(pool), "read_dialogues, which returns the pool, groups equal texts"
    own_places = [place.get(target.dialogue.strip()) for target in targets]
    if targets:
        _check_enough(len(pool) - any(own is not None for own in own_places), shots, len(pool))
    vectors = _tfidf(pool, targets)
    pool_columns = vectors[: len(pool)].T.tocsr()
    chosen: list[tuple[Dialogue, ...]] = []
    for start in range(0, len(targets), _TARGETS_AT_ONCE):
        rows = slice(len(pool) + start, len(pool) + min(start + _TARGETS_AT_ONCE, len(targets)))
        # Rounded, so that the order of summation does not decide between equally similar dialogues.
        cosines = (vectors[rows] @ pool_columns).toarray().round(_TIE_DECIMALS)
        for row, own in zip(cosines, own_places[start : start + _TARGETS_AT_ONCE], strict=True):
            if own is not None:
                row[own] = -1.0
            nearest = np.argsort(-row, kind="stable")[:shots]
            chosen.append(tuple(pool[index] for index in reversed(nearest)))
    return chosen


def _terms(dialogue: str) -> Iterator[str]:
    """Yield the words of a dialogue; in scripts without spaces, character bigrams, as one character says little."""
    for word in _WORD.findall(dialogue.lower()):
        if is_unspaced(word):
            single = characters(word)
            yield from map("".join, pairwise(single)) if len(single) > 1 else single
        else:
            yield word


def _tfidf(pool: Sequence[Dialogue], targets: Sequence[Dialogue]) -> csr_array:
    """Return unit TF-IDF vectors, shape ``(len(pool) + len(targets), words of the pool)``; idf is the pool's."""
    import numpy as np
    from scipy.sparse import csr_array, diags_array

    vocabulary: dict[str, int] = {}
    starts, columns, counts = [0], list[int](), list[int]()
    for number, one in enumerate((*pool, *targets)):
        words = Counter(_terms(one.dialogue))
        for word, count in words.items():
            column = vocabulary.setdefault(word, len(vocabulary)) if number < len(pool) else vocabulary.get(word)
            if column is not None:
                columns.append(column)
                counts.append(count)
        starts.append(len(columns))
    shape = (len(pool) + len(targets), len(vocabulary))
    terms = csr_array((np.asarray(counts, dtype=np.float64), columns, starts), shape=shape)
    documents = np.bincount(np.asarray(columns[: starts[len(pool)]], dtype=np.intp), minlength=len(vocabulary))
    weighted = terms @ diags_array(np.log((1 + len(pool)) / (1 + documents)) + 1)
    lengths = np.sqrt(weighted.power(2).sum(axis=1))
    return diags_array(1 / np.where(lengths > 0, lengths, 1)) @ weighted
