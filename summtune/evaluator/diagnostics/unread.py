"""Measures the share of letters that ROUGE's tokenizer cannot read, and warns of what that means for the scores.

rouge_score keeps only a-z and 0-9. Of the first article of the Universal Declaration of Human Rights it drops 0 % of
the letters in English and Dutch, 1 to 3 % in Spanish, German, Portuguese and French (up to one word in seven falls
apart), 6 to 12 % in Polish, Swedish, Turkish, Hungarian and Czech (a quarter to a half of the words), 33 % in
Vietnamese (four words in five), and 100 % in Greek, Russian or Chinese, where only digits and Latin words are left.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

import regex
from typing_extensions import assert_never

from summtune.base import numbers
from summtune.base.writing import UNSPACED_CHARACTER, is_unspaced, script
from summtune.evaluator.diagnostics.checks import result
from summtune.evaluator.diagnostics.words import shown
from summtune.recipe.sections import Tokenizer
from summtune.runs.diagnostics import UNREAD_LETTERS, UnreadLetters

SMALL = 0.05
"""Mean share of unread letters from which on every fourth word falls apart, and a warning is given."""
LARGE = 0.2
"""Mean share from which on most words fall apart or vanish, and no verdict is drawn."""

_CHARACTER = 0.1
"""Share of scripts without spaces among the unread letters from which on `tokenizer: character` is recommended."""
_SHOWN_SCRIPTS = 3
_CLAUSE = regex.compile(rf"(?V1)\p{{Han}}{{5,}}|(?:{UNSPACED_CHARACTER}){{7,}}")
"""A clause: more characters without a space than a word has. In pre-segmented text the words are shorter."""


def unread_letters(dialogues: Iterable[tuple[str, Sequence[str]]], tokenizer: Tokenizer) -> UnreadLetters:
    """Return the check ``unread_letters`` of ``metrics.json`` and ``comparison.json``.

    Besides what every check has: ``share``, the mean over dialogues of the share of letters in the references that the
    tokenizer cannot read (0 to 1); ``scripts``, to which these belong; ``tokenizer``, and ``recommended``, the one that
    reads them. The references decide, not the outputs: an output in another script should score 0.

    Args:
        dialogues: ids with their references.
        tokenizer: that the scores are computed with.
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
    return UnreadLetters(
        **dict(result(UNREAD_LETTERS, found, len(shares))),
        share=fmean(shares) if shares else 0.0,
        scripts=tuple(name for name, _ in scripts.most_common(_SHOWN_SCRIPTS) if name),
        tokenizer=tokenizer,
        recommended="character" if unspaced > _CHARACTER * unread.total() else "unicode",
    )


def unread_share(text: str, tokenizer: Tokenizer) -> float | None:
    """Return the share of the letters of ``text`` that the tokenizer cannot read, 0 to 1; None without letters."""
    if text.isascii():
        return 0.0 if any(map(str.isalpha, text)) else None
    letters = sum(map(_is_letter, text.lower()))
    return len(unread_of(text, tokenizer)) / letters if letters else None


def unread_of(text: str, tokenizer: Tokenizer) -> str:
    """Return the letters and marks that the tokenizer drops, or that are part of clauses that it treats as words."""
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


def draws_no_verdict(check: UnreadLetters | None) -> bool:
    """Return whether ROUGE reads so little of the references that no verdict may be drawn from it."""
    return check is not None and check.share >= LARGE


def warnings(check: UnreadLetters | None) -> list[str]:
    """Return a warning about unread letters; an empty list if (nearly) all letters are read."""
    if check is None or check.share < SMALL:
        return []
    scripts = ", ".join("Latin beyond a-z" if name == "Latin" else name for name in check.scripts)
    share = f"{numbers.rate(check.share)} of the letters of the references ({scripts})"
    if check.tokenizer == "rouge":
        problem = f"ROUGE's tokenizer keeps only a-z and 0-9 and drops {share}"
    else:
        problem = f"`tokenizer: unicode` treats whole clauses as words in writing without spaces: {share}"
    effect = "so no verdict is drawn from ROUGE" if draws_no_verdict(check) else "so words are broken into pieces"
    value = check.recommended
    return [
        f"{problem}, {effect}; use `evaluation.tokenizer: {value}` "
        f"(`summtune evaluate … --set tokenizer={value}` scores finished outputs)."
    ]


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"
