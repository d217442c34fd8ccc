"""ROUGE through rouge_score, the one implementation of ROUGE in summtune."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from summtune.errors import InputError

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

FloatArray = npt.NDArray[np.float64]

IMPLEMENTATION = "rouge_score"
SENTENCE_SPLITTING = "newline"
"""What rougeLsum takes for a sentence: a line. rouge_score does not look for full stops."""

_CACHED_TEXTS = 256
"""Texts whose words are remembered: one dialogue's prediction meets every reference, and each ROUGE type twice."""


def implementation_version() -> str:
    """Return the installed version of rouge_score, for the protocol."""
    return version(IMPLEMENTATION)


def is_rouge(name: str) -> bool:
    """Return whether ``name`` asks for ROUGE, rather than for a metric of the evaluate library.

    Raises:
        InputError: the name begins like ROUGE and is no variant that rouge_score knows.
    """
    if re.fullmatch(r"rouge([1-9]|L|Lsum)", name):
        return True
    if name.startswith("rouge") and not re.search(r"[/\\]", name):
        raise InputError(
            f"unknown ROUGE variant (got {name!r}); use rouge1 to rouge9, rougeL or rougeLsum, "
            "or the path of a folder that holds a metric's script"
        )
    return False


def score_rouge(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    names: Sequence[str],
    *,
    use_stemmer: bool,
    aggregate: Literal["mean", "max"],
) -> dict[str, FloatArray]:
    """Return the F-measure of every dialogue, as fractions from 0 to 1.

    Args:
        predictions: ``n`` summaries.
        references: for each of them one or more summaries that people wrote.
        names: ROUGE variants, ``rouge1`` … ``rouge9``, ``rougeL``, ``rougeLsum`` (Lin, 2004).
        use_stemmer: whether words are Porter-stemmed first.
        aggregate: what a dialogue with several references scores: the mean over them, or the best of them. The best
            is taken for each variant on its own, as ``RougeScorer.score_multi`` does.

    Returns:
        For each name an array of shape ``(n,)``.

    Raises:
        InputError: a name is no ROUGE variant.
    """
    unknown = [name for name in names if not is_rouge(name)]
    if unknown:
        raise InputError(f"not a ROUGE variant (got {unknown[0]!r}); use rouge1 to rouge9, rougeL or rougeLsum")
    assert len(predictions) == len(references), "one list of references a prediction"
    if not names:
        return {}
    scorer = _scorer(names, use_stemmer)
    combine = np.mean if aggregate == "mean" else np.max
    scores = np.empty((len(predictions), len(names)))
    for row, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        each = [scorer.score(text, prediction) for text in texts]
        scores[row] = combine([[score[name].fmeasure for name in names] for score in each], axis=0)
    return {name: scores[:, column].copy() for column, name in enumerate(names)}


def has_words(text: str) -> bool:
    """Return whether ROUGE sees anything in ``text``: it reads the letters a-z and digits, and nothing else.

    A reference in another script therefore scores zero whatever the system wrote.
    """
    return re.search("[a-z0-9]", text.lower()) is not None


def _scorer(names: Sequence[str], use_stemmer: bool) -> RougeScorer:
    """Return the scorer of all names, with rouge_score's own tokenizer behind a cache (1.5 times as fast, or more)."""
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

    class CachedTokenizer(Tokenizer):  # type: ignore[misc]  # rouge_score has no type information
        tokenize = staticmethod(functools.lru_cache(_CACHED_TEXTS)(DefaultTokenizer(use_stemmer).tokenize))

    return RougeScorer(list(names), tokenizer=CachedTokenizer())
