"""Detects summaries that are copied from the dialogue, and measures how many of their n-grams are new."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from summtune.evaluator.diagnostics.words import characters_a_word, runs, words

RUN_WORDS = 12
"""Words in a row from one place in the dialogue that can no longer be chance."""
GRAM_WORDS = 3
NEW_SHARE = 0.1
"""Least share of new three-word runs; below it, a summary is patched together from the dialogue."""
SHORTEST = 8
"""Fewest words of a copied summary: a shorter one may well consist of the dialogue's words."""
LONGEST_NOVEL = 3

_LABEL = re.compile(r"#\w+#[:：]?|\b[^\W\d]\w*:(?=\s)|^\s*[^\W\d]\w{0,11}：", re.MULTILINE)


def own_words(text: str) -> list[str]:
    """Return the words of ``text`` without speaker tags and labels (``#Person1#``, ``Anna:``)."""
    return words(_LABEL.sub(" ", text))


class Source:
    """The words of a dialogue and the runs of words in it."""

    def __init__(self, dialogue: str) -> None:
        self.words = own_words(dialogue)
        self._characters = characters_a_word(self.words)
        self._labels = {(word,) for label in _LABEL.findall(dialogue) for word in words(label)}

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The distinct words."""
        return frozenset(self.words)

    @cached_property
    def grams(self) -> list[set[tuple[str, ...]]]:
        """The runs of one, two and three words; the runs of one include speaker labels."""
        grams = [set(runs(self.words, length)) for length in range(1, LONGEST_NOVEL + 1)]
        grams[0] |= self._labels
        return grams

    @property
    def run_words(self) -> int:
        """``RUN_WORDS``, or the corresponding number of characters in writing without spaces."""
        return RUN_WORDS * self._characters

    @property
    def gram_words(self) -> int:
        """``GRAM_WORDS``, or the corresponding number of characters in writing without spaces."""
        return GRAM_WORDS * self._characters

    @cached_property
    def long_grams(self) -> set[tuple[str, ...]]:
        """The runs of ``gram_words`` words."""
        return self.grams[GRAM_WORDS - 1] if self._characters == 1 else set(runs(self.words, self.gram_words))

    @cached_property
    def long_runs(self) -> set[tuple[str, ...]]:
        """The runs of ``run_words`` words."""
        return set(runs(self.words, self.run_words))


def novel_shares(said: Sequence[str], source: Source) -> list[float | None]:
    """Return the share of the summary's n-grams of one, two and three words that the dialogue lacks, 0 to 1.

    Counted as by See et al. (2017, "Get to the point", figure 6): repeated n-grams of the summary count each time.
    None if the summary has no such n-gram.

    Args:
        said: the summary's words, from `own_words`.
        source: of the dialogue.
    """
    shares: list[float | None] = []
    for length, known in enumerate(source.grams, start=1):
        own = [run not in known for run in runs(said, length)]
        shares.append(sum(own) / len(own) if own else None)
    return shares


def copied(said: Sequence[str], source: Source) -> str | None:
    """Return the words that a summary copies from the dialogue; None if it is not copied.

    Copied means ``RUN_WORDS`` words in a row, or less than ``NEW_SHARE`` new three-word runs in a summary of at least
    ``SHORTEST`` words; in a dialogue without spaces, twice these numbers of characters.
    """
    if len(said) < SHORTEST * source.run_words / RUN_WORDS:
        return None
    known = [run in source.long_grams for run in runs(said, source.gram_words)]
    if sum(known) > source.run_words - source.gram_words:  # enough for a long run
        for run in runs(said, source.run_words):
            if run in source.long_runs:
                return " ".join(run)
    return " ".join(said) if known.count(False) < NEW_SHARE * len(known) else None
