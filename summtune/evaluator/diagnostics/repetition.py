"""Finds loops: a text that repeats the same words, like a model that cannot stop."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from summtune.evaluator.diagnostics.words import characters_a_word, runs, words

RUN_WORDS = 4
"""Length of a run that is a loop if it occurs often enough; people repeat three words ("#Person2# wants to")."""
RUN_TIMES = 3
RUN_SHARE = 0.2
"""Least share of the text that such runs fill: a long clinical note says "the patient states that" three times."""
LOOP_WORDS = 6
"""Fewest words of a unit repeated without a break: "no, no, no" is speech, "no" six times is a loop."""

_LONGEST_UNIT = 12
_SENTENCE = re.compile(r"[^.!?。！？｡؟۔।॥።။។\n]+")


def repeated(text: str) -> str | None:
    """Return the words that ``text`` repeats in a loop; None if there is no loop.

    A loop is one of: a sentence of four words or more that occurs twice; four words in a row that occur three times or
    more and fill a fifth of the text; up to twelve words repeated without a break, three times or more and six words
    or more in all. In writing without spaces these are twice as many characters.
    """
    said = words(text)
    times = characters_a_word(said)
    return _sentence_twice(text, times) or _without_break(said, times) or _run_often(said, times)


def _sentence_twice(text: str, characters: int) -> str | None:
    seen: set[tuple[str, ...]] = set()
    for sentence in _SENTENCE.findall(text):
        said = tuple(words(sentence))
        if len(said) >= RUN_WORDS * characters and said in seen:
            return str(sentence.strip())
        seen.add(said)
    return None


def _run_often(said: Sequence[str], characters: int) -> str | None:
    length = RUN_WORDS * characters
    if len(said) < length * 2:
        return None
    run, times = Counter(runs(said, length)).most_common(1)[0]
    loops = times >= RUN_TIMES and times * length >= RUN_SHARE * len(said)
    return " ".join(run) if loops else None


def _without_break(said: Sequence[str], characters: int) -> str | None:
    fills = LOOP_WORDS * characters
    if len(said) - len(set(said)) < fills * (RUN_TIMES - 1) / RUN_TIMES:
        return None
    for unit in range(1, _LONGEST_UNIT * characters + 1):
        needed = max(unit * (RUN_TIMES - 1), fills - unit)
        same = 0  # words in a row that equal the word one unit earlier
        for place, (before, word) in enumerate(zip(said, said[unit:], strict=False)):
            same = same + 1 if before == word else 0
            if same >= needed:
                return " ".join(said[place + 1 : place + 1 + unit])
    return None
