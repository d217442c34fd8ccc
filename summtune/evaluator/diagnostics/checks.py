"""What each check of the outputs is called, what it means, and when its finding becomes a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from summtune.base import numbers
from summtune.runs.diagnostics import CheckResult, Finding

EXAMPLES = 5
"""Findings that stand beside a count, to look at."""
_SHOWN_IDS = 3

HUMAN_FACTOR = 2
MARGIN = 0.02
FEWEST = 2


@dataclass(frozen=True)
class Check:
    """A question to every output.

    Args:
        title: what it looks for, in a few words.
        meaning: one sentence on what exactly counts.
        warning: sentence with ``{count}``, ``{n}`` and ``{examples}``; empty where this module makes none.
        consequence: what follows for the scores, where it is not plain.
        always: whether a single case is to be warned of; else it depends on how many there are (`is_worth_a_warning`).
    """

    title: str
    meaning: str
    warning: str
    consequence: str = ""
    always: bool = False


CHECKS: Mapping[str, Check] = {
    "unread_letters": Check(
        "Letters that ROUGE cannot read",
        "The tokenizer drops 5 % or more of the letters of the references, or takes clauses for words.",
        "",  # its sentence depends on the share and the scripts: summtune.evaluator.diagnostics.unread
    ),
    "empty": Check(
        "Empty outputs",
        "Nothing but white space was written; that scores 0.",
        "{count} of {n} predictions are empty and score 0 (for instance {examples}).",
        always=True,
    ),
    "constant": Check(
        "The same text again",
        "More than half of the outputs are one and the same text.",
        "{count} of {n} predictions are one and the same text (for instance {examples}).",
        always=True,
    ),
    "length_cap": Check(
        "Outputs at the length cap",
        "Generation ended at max_new_tokens and not because the summary was complete.",
        "{count} of {n} predictions hit max_new_tokens and may be cut short (for instance {examples}).",
        always=True,
    ),
    "truncated": Check(
        "Truncated dialogues",
        "The dialogue was cut to fit sequence_len, so the system did not see all of it.",
        "{count} of {n} dialogues were truncated to fit sequence_len (for instance {examples}).",
        always=True,
    ),
    "references_without_words": Check(
        "References that ROUGE cannot read",
        "The tokenizer finds no word in a reference, so ROUGE scores it 0 whatever was written.",
        "{count} of {n} dialogues have a reference in which ROUGE's tokenizer finds no word, so it scores 0 whatever "
        "was written (for instance {examples}).",
        always=True,
    ),
    "repetition": Check(
        "Loops",
        "A sentence comes twice, words repeat without a break, or four come three times and fill a fifth of the text.",
        "{count} of {n} predictions repeat themselves like a loop ({human}for instance {examples}).",
    ),
    "copied": Check(
        "Copied dialogue",
        "Twelve words in a row stand in the dialogue, or more than nine in ten of all runs of three words.",
        "{count} of {n} predictions are lifted out of the dialogue ({human}for instance {examples}).",
    ),
    "speakers": Check(
        "Speakers that are not in the dialogue",
        "A speaker's tag that nobody in the dialogue has, however it is written.",
        "{count} of {n} predictions have a speaker who is not in the dialogue ({human}for instance {examples}).",
    ),
    "speaker_spelling": Check(
        "Speaker tags written otherwise",
        "A speaker of the dialogue with another spelling of the tag (Person 1 for #Person1#): a matter of style.",
        "{count} of {n} predictions write a speaker's tag otherwise than the dialogue does, which is a matter of style "
        "but can cost ROUGE ({human}for instance {examples}).",
    ),
    "names": Check(
        "Names that the dialogue lacks",
        "A word written like a name, and in no form a word of the dialogue.",
        "{count} of {n} predictions have a name that the dialogue lacks ({human}for instance {examples}).",
    ),
    "numbers": Check(
        "Numbers that the dialogue lacks",
        "A number above 3, a time or a date that the dialogue does not say, in digits or in words.",
        "{count} of {n} predictions have a number that the dialogue lacks ({human}for instance {examples}).",
    ),
    "length": Check(
        "Far shorter or longer than the references",
        "Less than half or more than twice the words of the references, on average over them.",
        "{count} of {n} predictions have less than half or more than twice the words of their references "
        "({human}for instance {examples}).",
    ),
    "language": Check(
        "Another language than the references",
        "The letters are of another script, or the language is certainly another one.",
        "{count} of {n} predictions are in another language than their references ({human}for instance {examples}).",
    ),
    "leakage_train": Check(
        "Test dialogues in the training data",
        "At least 70 % of the test dialogue's runs of five words stand in one training dialogue.",
        "{count} of {n} test dialogues are also in the training data, wholly or nearly (for instance {examples})",
        "the scores are not to be trusted",
        always=True,
    ),
    "leakage_exemplars": Check(
        "Test dialogues among the exemplars",
        "At least 70 % of the test dialogue's runs of five words stand in one dialogue that exemplars are chosen from.",
        "{count} of {n} test dialogues are also among the dialogues that exemplars are chosen from, wholly or nearly "
        "(for instance {examples})",
        "the scores are not to be trusted",
        always=True,
    ),
    "weights_unchanged": Check(
        "Weights that training left as they were",
        "Tensors of the trained model that equal the base model's to the last bit; all of them: nothing was trained.",
        "The model equals its base: all {n} weights are bitwise as they were",
        "these are the base model's scores",
    ),
}
"""By the name that a check has in ``metrics.json``, in the order of a report."""


def result(
    name: str, found: Sequence[tuple[str, str]], of: int, references: float | None = None, count: int | None = None
) -> CheckResult:
    """Return a check's entry of ``metrics.json``.

    Args:
        name: of the check.
        found: id and offending text of each case.
        of: texts that were looked at.
        references: share of the references, 0 to 1, that the same check finds; None where it cannot be asked of them.
        count: cases, where ``found`` holds only some of them.
    """
    return CheckResult(
        title=CHECKS[name].title,
        meaning=CHECKS[name].meaning,
        count=len(found) if count is None else count,
        of=of,
        references=references,
        examples=tuple(Finding(id=id_, found=text) for id_, text in found[:EXAMPLES]),
    )


def warnings(results: Mapping[str, CheckResult]) -> list[str]:
    """Return a sentence for each finding that a reader of the scores must know (`is_worth_a_warning`)."""
    return [_sentence(name, entry) for name, entry in results.items() if is_worth_a_warning(name, entry)]


def warnings_beside(results: Mapping[str, Mapping[str, CheckResult]]) -> list[str]:
    """Return a sentence for each check that found in any system what a reader must know, with every such system.

    Five systems with six findings each would otherwise say thirty sentences, which nobody reads; examples stand in the
    systems' own files.

    Args:
        results: by the name of a system its checks.
    """
    sentences = []
    for name, check in CHECKS.items():
        entries = {system: checks[name] for system, checks in results.items() if name in checks}
        worth = {system: entry for system, entry in entries.items() if is_worth_a_warning(name, entry)}
        if not worth:
            continue
        counts = ", ".join(f"{system} {entry.count} of {entry.of}" for system, entry in worth.items())
        share = next(iter(worth.values())).references
        human = "" if share is None else f" (of the references {numbers.rate(share)})"
        sentences.append(f"{check.title}: {counts}{human}{f'; {check.consequence}' if check.consequence else ''}.")
    return sentences


def is_worth_a_warning(name: str, entry: CheckResult) -> bool:
    """Return whether a careful reader must know of a check's finding.

    Of some checks every case counts (`Check.always`). Unchanged weights count when they are all. The others also find a
    few texts of people, so they count from two outputs on whose share is two percentage points above twice the
    references' share.
    """
    count, of = entry.count, entry.of
    if not CHECKS[name].warning:
        return False
    if name == "weights_unchanged":
        return bool(count == of > 0)
    if CHECKS[name].always:
        return bool(count)
    return count >= FEWEST and bool(count / of >= HUMAN_FACTOR * (entry.references or 0.0) + MARGIN)


def _sentence(name: str, entry: CheckResult) -> str:
    check = CHECKS[name]
    share = entry.references
    human = "" if share is None else f"{numbers.rate(share)} of the references do, "
    shown = [
        f"{each.id}: {each.found}" if each.found and not check.always else each.id
        for each in entry.examples[:_SHOWN_IDS]
    ]
    sentence = check.warning.format(
        count=entry.count,
        n=entry.of,
        human=human,
        examples=("; " if ": " in "".join(shown) else ", ").join(shown),
    )
    return f"{sentence}; {check.consequence}." if check.consequence else sentence
