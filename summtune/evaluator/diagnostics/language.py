"""Finds an output that is not in the language of its references."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence, Set
from functools import lru_cache
from typing import Any

from summtune.evaluator.diagnostics.words import words

CONFIDENCE = 0.9
"""Least probability at which another language is reported."""
FEWEST_WORDS = 6
"""Fewest words of a text whose language can be identified."""
SHARED_WORDS = 0.25
"""Share of a text's distinct words in references or dialogue from which on it counts as in their language."""

_FEWEST_LETTERS = 3
_NO_LANGUAGE = "zxx"
_NO_WORDS = re.compile(r"#\w+#|[\d_]+")
_ONE_SCRIPT = {
    "CJK": "HAN",
    **dict.fromkeys(("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH"), "KANA"),
    "FULLWIDTH": "LATIN",
}
_KANA = 0.1
"""Least share of kana among Han and kana in Japanese; a few words may well have none."""
_FEWEST_HAN = 10


def other_language(text: str, said: Set[str], references: Sequence[str], dialogue_words: Set[str]) -> str | None:
    """Return the language of ``text`` and that of its references ("de, not en"); None without certainty.

    Another script is certain. Another language in the same script is reported only for texts that share few words with
    the references and the dialogue, have at least ``FEWEST_WORDS`` words, and are identified by py3langid (naive Bayes,
    Lui and Baldwin, 2012) with probability ``CONFIDENCE``.

    Args:
        text: to be identified.
        said: its distinct words.
        references: at least one.
        dialogue_words: the distinct words of the dialogue.
    """
    expected = " ".join(references)
    if not (text.isascii() and expected.isascii()):  # ASCII can only be Latin
        own, theirs = (main_script(_NO_WORDS.sub(" ", each)) for each in (text, expected))
        if own and theirs and own != theirs and not _may_be_japanese(own, theirs, text, expected):
            return f"{own.title()} letters, not {theirs.title()}"
    shared = SHARED_WORDS * len(said)
    if (
        len(said) < FEWEST_WORDS
        or len(said & dialogue_words) >= shared
        or len(said & (dialogue_words | set(words(expected)))) >= shared
    ):
        return None
    language, sure = identify(_NO_WORDS.sub(" ", text))
    if sure < CONFIDENCE or language == _NO_LANGUAGE:
        return None
    known, known_sure = identify(_NO_WORDS.sub(" ", expected))
    return f"{language}, not {known}" if known != language and known_sure >= CONFIDENCE else None


def _may_be_japanese(own: str, theirs: str, *texts: str) -> bool:
    """Return whether both may be Japanese because one text is too short to have kana."""
    return {own, theirs} == {"HAN", "JAPANESE"} and min(map(len, texts)) < _FEWEST_HAN


def main_script(text: str) -> str | None:
    """Return the Unicode name of the script of most letters ("LATIN"); None below three letters or without a majority.

    Han mixed with kana is "JAPANESE", Han alone "HAN".
    """
    if text.isascii():
        return "LATIN" if sum(map(str.isalpha, text)) >= _FEWEST_LETTERS else None
    scripts = Counter(filter(None, map(_script, text)))
    kana, han = scripts.pop("KANA", 0), scripts.pop("HAN", 0)
    if kana + han:
        scripts["JAPANESE" if kana > _KANA * (kana + han) else "HAN"] = kana + han
    if scripts.total() < _FEWEST_LETTERS:
        return None
    script, letters = scripts.most_common(1)[0]
    return script if letters * 2 > scripts.total() else None


@lru_cache(maxsize=4096)
def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    script = unicodedata.name(character, "").split(" ", 1)[0]
    return _ONE_SCRIPT.get(script, script) or None


@lru_cache(maxsize=4096)
def identify(text: str) -> tuple[str, float]:
    """Return the likeliest language of ``text`` (ISO 639-1) and its probability."""
    language, probability = _identifier().classify(text)
    return str(language), float(probability)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
