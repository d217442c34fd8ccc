"""Measures which share of the letters ROUGE's tokenizer cannot read, and says what that means for its scores.

rouge_score keeps a-z and 0-9 alone. Of the first article of the Universal Declaration of Human Rights it drops 0 % of
the letters in English and Dutch, 1 to 3 % in Spanish, German, Portuguese and French (up to one word in seven falls
apart), 6 to 12 % in Polish, Swedish, Turkish, Hungarian and Czech (a quarter to a half of the words), 33 % in
Vietnamese (four words in five), and 100 % in Greek, Russian or Chinese, where only digits and Latin words are left.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import regex
from typing_extensions import assert_never

from summtune.base import numbers
from summtune.base.writing import UNSPACED_CHARACTER, is_unspaced, script
from summtune.evaluator.diagnostics.checks import result
from summtune.evaluator.diagnostics.words import shown
from summtune.recipe.sections import Tokenizer

NAME = "unread_letters"

SMALL = 0.05
"""From this mean share of unread letters on every fourth word falls apart, which a reader must know."""
LARGE = 0.2
"""From this mean share on most words fall apart or vanish, and no verdict is drawn."""

_CHARACTER = 0.1
"""Share of scripts without spaces among the unread letters from which on characters are to be compared."""
_SHOWN_SCRIPTS = 3
_CLAUSE = regex.compile(rf"(?V1)\p{{Han}}{{5,}}|(?:{UNSPACED_CHARACTER}){{7,}}")
"""More characters without a space than a word has: a clause. Words that somebody divided by spaces are shorter."""


def unread_letters(dialogues: Iterable[tuple[str, Sequence[str]]], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the check ``unread_letters`` of ``metrics.json`` and ``comparison.json``.

    Beside what every check has: ``share``, the mean over dialogues of the share of letters in the references that the
    tokenizer cannot read (0 to 1); ``scripts``, to which these belong; ``tokenizer`` and ``recommended``, the one that
    reads them. The references decide and not the outputs: an output in another script than theirs scores 0, and should.

    Args:
        dialogues: ids with their references.
        tokenizer: that the scores are made with.
    """
    shares: list[float] = []
    found: list[tuple[str, str]] = []
    unread: Counter[str] = Counter()
    for id_, references in dialogues:
        text = "\n".join(references)
        share = unread_share(text, tokenizer)
        if share is not None:
            shares.append(share)
            unread.update(unread_of(text, tokenizer))
            if share >= SMALL:
                found.append((id_, shown(references[0])))
    scripts: Counter[str] = Counter()
    for letter, count in unread.items():
        scripts[script(letter) or ""] += count
    unspaced = sum(count for letter, count in unread.items() if is_unspaced(letter))
    return result(NAME, found, len(shares)) | {
        "share": fmean(shares) if shares else 0.0,
        "scripts": [name for name, _ in scripts.most_common(_SHOWN_SCRIPTS) if name],
        "tokenizer": tokenizer,
        "recommended": "character" if unspaced > _CHARACTER * unread.total() else "unicode",
    }


def unread_share(text: str, tokenizer: Tokenizer) -> float | None:
    """Return the share of the letters of ``text`` that the tokenizer cannot read, 0 to 1; None without letters."""
    if text.isascii():
        return 0.0 if any(map(str.isalpha, text)) else None
    letters = sum(map(_is_letter, text.lower()))
    return len(unread_of(text, tokenizer)) / letters if letters else None


def unread_of(text: str, tokenizer: Tokenizer) -> str:
    """Return the letters and their marks that the tokenizer drops, or that are parts of clauses it takes for words."""
    if text.isascii():
        return ""
    match tokenizer:
        case "rouge":
            return "".join(each for each in text.lower() if not each.isascii() and _is_letter(each))
        case "unicode":
            return "".join(_CLAUSE.findall(text))
        case "character":
            return ""
    assert_never(tokenizer)


def draws_no_verdict(check: Mapping[str, Any] | None) -> bool:
    """Return whether ROUGE reads so little of the references that no verdict may be drawn from it."""
    return check is not None and check["share"] >= LARGE


def warnings(check: Mapping[str, Any] | None) -> list[str]:
    """Return the sentence that a reader of the scores must know; none where (nearly) all letters are read."""
    if check is None or check["share"] < SMALL:
        return []
    scripts = ", ".join("Latin beyond a-z" if name == "Latin" else name for name in check["scripts"])
    share = f"{numbers.rate(check['share'])} of the letters of the references ({scripts})"
    if check["tokenizer"] == "rouge":
        problem = f"ROUGE's tokenizer keeps a-z and 0-9 alone and drops {share}"
    else:
        problem = f"`tokenizer: unicode` takes whole clauses for words in writing without spaces: {share}"
    effect = "so no verdict is drawn from ROUGE" if draws_no_verdict(check) else "so words are broken into pieces"
    value = check["recommended"]
    return [
        f"{problem}, {effect}; use `evaluation.tokenizer: {value}` "
        f"(`summtune evaluate … --set tokenizer={value}` scores finished outputs)."
    ]


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"
