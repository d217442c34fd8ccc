"""ROUGE as rouge_score computes it, pair by pair to the last bits, many times as fast.

rouge_score is the reference implementation, the protocol names its version, and tests hold every score of this module
against it. What is done differently costs nothing in the result: a word is stemmed once in a process and not once in
a text, a text is read once and not once for each variant and reference, and the longest common subsequence is found
with bit vectors (Hyyrö, *Bit-parallel LCS-length computation revisited*, 2004) instead of a table of numbers.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_never

from summtune.base.errors import InputError
from summtune.base.writing import characters, unicode_words
from summtune.evaluator.sentences import sentences
from summtune.recipe.sections import Tokenizer

FloatArray = npt.NDArray[np.float64]
Words = list[str]

IMPLEMENTATION = "rouge_score"

# What rouge_score.tokenize takes for a word, and the longest one that it does not stem.
_WORD = re.compile("[a-z0-9]+")
_SHORT = 3

_CACHED_STEMS = 2**16
"""Words whose stem is remembered: more than a language's common ones, and a few MB."""
_CACHED_TEXTS = 64
"""Texts that stay read: a prediction meets every reference, and people's agreement takes each of them both ways."""


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


def score_pairs(
    predictions: Iterable[str],
    references: Iterable[Sequence[str]],
    names: Sequence[str],
    *,
    use_stemmer: bool,
    split_sentences: bool,
    tokenizer: Tokenizer = "rouge",
) -> FloatArray:
    """Return the F-measure of every pair of a prediction and one of its references, fractions from 0 to 1.

    Args:
        predictions: ``n`` summaries.
        references: for each of them one or more summaries that people wrote.
        names: ROUGE variants, ``rouge1`` … ``rouge9``, ``rougeL``, ``rougeLsum`` (Lin, *ROUGE: A Package for Automatic
            Evaluation of Summaries*, 2004).
        use_stemmer: whether words of the letters a-z are Porter-stemmed first; the rules are those of English.
        split_sentences: whether ROUGE-Lsum looks for sentences, or takes lines for them as rouge_score does.
        tokenizer: how a text is divided into words, see `tokenize`.

    Returns:
        Shape ``(pairs, len(names))``: first all references of the first prediction, then those of the second.

    Raises:
        InputError: a name is no ROUGE variant.
    """
    unknown = [name for name in names if not is_rouge(name)]
    if unknown:
        raise InputError(f"not a ROUGE variant (got {unknown[0]!r}); use rouge1 to rouge9, rougeL or rougeLsum")
    read = _reader(use_stemmer, split_sentences, tokenizer)
    measures = [_measure(name) for name in names]
    scores = array("d")  # eight bytes a score, however many pairs there are
    count = 0
    for prediction, texts in zip(predictions, references, strict=True):
        candidate = read(prediction)
        for text in texts:
            reference = read(text)
            scores.extend(measure(reference, candidate) for measure in measures)
        count += len(texts)
    return np.array(scores).reshape(count, len(names))


def tokenize(text: str, tokenizer: Tokenizer) -> Words:
    """Return the words of ``text`` that ROUGE compares.

    Args:
        text: any text.
        tokenizer: ``rouge``: runs of a-z and 0-9 in lower case, and nothing else, which is rouge_score's own;
            ``unicode``: words of any script (`summtune.base.writing.unicode_words`); ``character``: of scripts without
            spaces each character (`summtune.base.writing.characters`), as ROUGE of Chinese is computed since Hu et al.,
            *LCSTS*, 2015, and Latin words whole, as in sacreBLEU's tokenizer ``zh``.
    """
    match tokenizer:
        case "rouge":
            return _WORD.findall(text.lower())
        case "unicode":
            return unicode_words(text)
        case "character":
            return characters(text)
    assert_never(tokenizer)


class _Text:
    """A text as words, with what the variants need of it, each made once."""

    def __init__(self, sentences_: list[Words]) -> None:
        self.sentences = sentences_
        self.words = [word for sentence in sentences_ for word in sentence]
        self._counts: dict[int, Counter[tuple[str, ...]]] = {}

    def counts(self, n: int) -> Counter[tuple[str, ...]]:
        """Return how often each run of ``n`` words comes."""
        if n not in self._counts:
            self._counts[n] = Counter(zip(*(self.words[start:] for start in range(n)), strict=False))
        return self._counts[n]

    @functools.cached_property
    def bits(self) -> dict[str, int]:
        """Where each word stands among all words: bit 0 is the first place."""
        return _bits(self.words)

    @functools.cached_property
    def sentence_bits(self) -> list[dict[str, int]]:
        """Where each word stands within each sentence."""
        return [_bits(sentence) for sentence in self.sentences]


_Measure = Callable[[_Text, _Text], float]


def _reader(use_stemmer: bool, split_sentences: bool, tokenizer: Tokenizer) -> Callable[[str], _Text]:
    """Return what turns a text into words, sentence by sentence.

    Sentences end at characters that are no part of a word, so the words of the text are those of its sentences.
    """
    stem = _porter_stem() if use_stemmer else None

    def words(part: str) -> Words:
        found = tokenize(part, tokenizer)
        if stem is None:
            return found
        return [stem(word) if len(word) > _SHORT and word.isascii() else word for word in found]

    def read(text: str) -> _Text:
        return _Text([words(part) for part in (sentences(text) if split_sentences else text.split("\n"))])

    return functools.lru_cache(_CACHED_TEXTS)(read)


@functools.cache
def _porter_stem() -> Callable[[str], str]:
    """Return rouge_score's stemmer with a memory."""
    from nltk.stem.porter import PorterStemmer

    return functools.lru_cache(_CACHED_STEMS)(PorterStemmer().stem)


def _measure(name: str) -> _Measure:
    match name.removeprefix("rouge"):
        case "L":
            return _rouge_l
        case "Lsum":
            return _rouge_lsum
        case digit:
            return functools.partial(_rouge_n, int(digit))


def _rouge_n(n: int, reference: _Text, candidate: _Text) -> float:
    ours, theirs = candidate.counts(n), reference.counts(n)
    few, many = (ours, theirs) if len(ours) < len(theirs) else (theirs, ours)
    shared = sum(min(count, many[run]) for run, count in few.items() if run in many)
    return _f_measure(shared, ours.total(), theirs.total())


def _rouge_l(reference: _Text, candidate: _Text) -> float:
    last = _last_row(reference.words, candidate.bits, len(candidate.words))
    return _f_measure(len(candidate.words) - last.bit_count(), len(candidate.words), len(reference.words))


def _rouge_lsum(reference: _Text, candidate: _Text) -> float:
    """Return the union-LCS F-measure of section 3.2, with the hits clipped as rouge_score does."""
    if len(reference.sentences) == 1 == len(candidate.sentences):
        return _rouge_l(reference, candidate)
    left, open_ = Counter(candidate.words), Counter(reference.words)
    hits = 0
    for sentence in reference.sentences:
        places: set[int] = set()
        for bits, other in zip(candidate.sentence_bits, candidate.sentences, strict=True):
            places |= _lcs_places(sentence, bits, other)
        for place in sorted(places):
            word = sentence[place]
            if left[word] > 0 and open_[word] > 0:
                left[word] -= 1
                open_[word] -= 1
                hits += 1
    return _f_measure(hits, len(candidate.words), len(reference.words))


def _f_measure(shared: int, candidate: int, reference: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / candidate, shared / reference
    return 2 * precision * recall / (precision + recall)


def _bits(words: Words) -> dict[str, int]:
    bits: dict[str, int] = {}
    for place, word in enumerate(words):
        bits[word] = bits.get(word, 0) | 1 << place
    return bits


def _last_row(words: Words, bits: dict[str, int], length: int) -> int:
    """Return the last row of the LCS table as differences: a bit is 0 where the length grows by one."""
    full = (1 << length) - 1
    row = full
    for word in words:
        if word in bits:
            common = row & bits[word]
            row = ((row + common) | (row - common)) & full
    return row


def _lcs_places(words: Words, bits: dict[str, int], other: Words) -> set[int]:
    """Return the places in ``words`` of a longest common subsequence: the very one that rouge_score traces back.

    Where several are as long, the union over sentences depends on which one is taken.
    """
    if bits.keys().isdisjoint(words):
        return set()
    full = (1 << len(other)) - 1
    rows = [full]
    for word in words:
        row = rows[-1]
        if word in bits:
            common = row & bits[word]
            row = ((row + common) | (row - common)) & full
        rows.append(row)
    i, j = len(words), len(other)
    longest = j - rows[i].bit_count()
    places: set[int] = set()
    while longest:
        if words[i - 1] == other[j - 1]:
            i, j, longest = i - 1, j - 1, longest - 1
            places.add(i)
        # Without a match the length comes from the left or from above; rouge_score goes left only where that is longer.
        elif j - (rows[i - 1] & ((1 << j) - 1)).bit_count() < longest:
            j -= 1
        else:
            i -= 1
    return places
