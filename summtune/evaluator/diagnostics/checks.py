"""Defines the checks of the outputs: title, meaning, and when a finding becomes a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from summtune.base import numbers
from summtune.runs.diagnostics import CheckResult, Finding

EXAMPLES = 5
"""Number of examples shown with a count."""
_SHOWN_IDS = 3

HUMAN_FACTOR = 2
MARGIN = 0.02
FEWEST = 2


@dataclass(frozen=True)
class Check:
    """A check that is made of every output.

    Args:
        title: what it looks for, in a few words.
        meaning: one sentence that defines what counts.
        warning: sentence with ``{count}``, ``{n}`` and ``{examples}``; empty if this module writes none.
        consequence: what follows for the scores, if that is not obvious.
        least: share of cases, 0 to 1, from which on they give a warning, 0 for a single case; None if it depends on how
            often people write the same (`is_worth_a_warning`).
    """

    title: str
    meaning: str
    warning: str
    consequence: str = ""
    least: float | None = None


CHECKS: Mapping[str, Check] = {
    "unread_letters": Check(
        "Letters that ROUGE cannot read",
        "The tokenizer drops 5 % or more of the letters of the references, or treats clauses as words.",
        "",  # its sentence depends on the share and the scripts: summtune.evaluator.diagnostics.unread
    ),
    "leakage_train": Check(
        "Test dialogues in the training data",
        "At least 70 % of the test dialogue's runs of five words are in one training dialogue.",
        "{count} of {n} test dialogues are also in the training data, exactly or nearly (for instance {examples})",
        "do not trust the scores",
        least=0,
    ),
    "leakage_validation": Check(
        "Test dialogues in the validation data",
        "At least 70 % of the test dialogue's runs of five words are in one validation dialogue, on which the "
        "checkpoint is selected.",
        "{count} of {n} test dialogues are also in the validation data, exactly or nearly (for instance {examples})",
        "do not trust the scores",
        least=0,
    ),
    "leakage_exemplars": Check(
        "Test dialogues among the exemplars",
        "At least 70 % of the test dialogue's runs of five words are in one dialogue that exemplars are chosen from.",
        "{count} of {n} test dialogues are also among the dialogues that exemplars are chosen from, exactly or nearly "
        "(for instance {examples})",
        "do not trust the scores",
        least=0,
    ),
    "weights_unchanged": Check(
        "Weights that training did not change",
        "Tensors of the trained model that equal the base model's bit for bit; if all do, nothing was trained.",
        "The model equals its base: all {n} weight tensors are bitwise unchanged",
        "these are the base model's scores",
        least=1,
    ),
    "empty": Check(
        "Empty outputs",
        "The output is only white space and scores 0.",
        "{count} of {n} predictions are empty and score 0 (for instance {examples}).",
        least=0,
    ),
    "constant": Check(
        "The same text again",
        "More than half of the outputs are the same text.",
        "{count} of {n} predictions are the same text (for instance {examples}).",
        least=0,
    ),
    "equal_to_reference": Check(
        "Outputs that equal a reference",
        "The output is a reference of its dialogue, letter by letter.",
        "{count} of {n} predictions equal a reference letter by letter ({human}for instance {examples})",
        "they may be the references themselves, read from the wrong column, or the model has seen them in training",
        least=0.5,
    ),
    "length_cap": Check(
        "Outputs at the length cap",
        "Generation ended at max_new_tokens, not because the summary was complete.",
        "{count} of {n} predictions hit max_new_tokens and may be cut short (for instance {examples}).",
        least=0,
    ),
    "truncated": Check(
        "Truncated dialogues",
        "The dialogue was cut to fit sequence_len, so the system did not see all of it.",
        "{count} of {n} dialogues were truncated to fit sequence_len (for instance {examples}).",
        least=0,
    ),
    "references_without_words": Check(
        "References that ROUGE cannot read",
        "The tokenizer finds no word in a reference, so ROUGE against it is 0 for any output.",
        "{count} of {n} dialogues have a reference in which ROUGE's tokenizer finds no word, so ROUGE against it is 0 "
        "for any output (for instance {examples}).",
        least=0,
    ),
    "repetition": Check(
        "Loops",
        "A sentence occurs twice, words repeat without a break, or four words in a row occur three times and fill a "
        "fifth of the text.",
        "{count} of {n} predictions repeat themselves in a loop ({human}for instance {examples}).",
    ),
    "copied": Check(
        "Copied dialogue",
        "Twelve words in a row, or more than nine in ten of all runs of three words, are copied from the dialogue.",
        "{count} of {n} predictions are copied from the dialogue ({human}for instance {examples}).",
    ),
    "speakers": Check(
        "Speakers that are not in the dialogue",
        "A tag of a speaker who is not in the dialogue, in any spelling.",
        "{count} of {n} predictions have a speaker who is not in the dialogue ({human}for instance {examples}).",
    ),
    "speaker_spelling": Check(
        "Speaker tags spelled differently",
        "A speaker of the dialogue with another spelling of the tag (Person 1 for #Person1#): a matter of style.",
        "{count} of {n} predictions spell a speaker's tag differently from the dialogue, which is a matter of style "
        "but can lower ROUGE ({human}for instance {examples}).",
    ),
    "names": Check(
        "Names that the dialogue lacks",
        "A word that is written like a name and is not a form of a word of the dialogue.",
        "{count} of {n} predictions have a name that the dialogue lacks ({human}for instance {examples}).",
    ),
    "numbers": Check(
        "Numbers that the dialogue lacks",
        "A number above 3, a time or a date that the dialogue does not contain, in digits or in words.",
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
        "The letters are of another script, or the language is certainly different.",
        "{count} of {n} predictions are in another language than their references ({human}for instance {examples}).",
    ),
}
"""By the check's name in ``metrics.json``, in the order of the report's warnings: first those that void the scores."""


def result(
    name: str, found: Sequence[tuple[str, str]], of: int, references: float | None = None, count: int | None = None
) -> CheckResult:
    """Return a check's entry of ``metrics.json``.

    Args:
        name: of the check.
        found: id and offending text of each case.
        of: number of texts that were checked.
        references: share of the references, 0 to 1, in which the same check finds something; None if it cannot be made
            of them.
        count: number of cases, if ``found`` holds only some of them.
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
    """Return a sentence for each finding that a reader of the scores must know about (`is_worth_a_warning`)."""
    found = [(name, results[name]) for name in CHECKS if name in results]
    return [_sentence(name, entry) for name, entry in found if is_worth_a_warning(name, entry)]


def joint_warnings(results: Mapping[str, Mapping[str, CheckResult]]) -> list[str]:
    """Return one sentence per check that gives a warning for any system, listing every such system.

    Otherwise five systems with six findings each would give thirty sentences, which nobody reads; examples are in the
    systems' own files.

    Args:
        results: the checks by system name.
    """
    sentences = []
    for name, check in CHECKS.items():
        entries = {system: checks[name] for system, checks in results.items() if name in checks}
        worth = {system: entry for system, entry in entries.items() if is_worth_a_warning(name, entry)}
        if not worth:
            continue
        counts = numbers.listed(f"{system} {entry.count} of {entry.of}" for system, entry in worth.items())
        share = next(iter(worth.values())).references
        human = "" if share is None else f" (of the references {numbers.rate(share)})"
        sentences.append(f"{check.title}: {counts}{human}{f'; {check.consequence}' if check.consequence else ''}.")
    return sentences


def is_worth_a_warning(name: str, entry: CheckResult) -> bool:
    """Return whether a careful reader must know about a check's finding.

    Some checks count from a share of the outputs on, often from the first case (`Check.least`). The other checks also
    find a few texts that people wrote, so they count from two outputs on, if the share is two percentage points above
    twice the references' share.
    """
    count, of, check = entry.count, entry.of, CHECKS[name]
    if not check.warning:
        return False
    if check.least is not None:
        return count > 0 and count >= check.least * of
    return count >= FEWEST and bool(count / of >= HUMAN_FACTOR * (entry.references or 0.0) + MARGIN)


def _sentence(name: str, entry: CheckResult) -> str:
    check = CHECKS[name]
    share = entry.references
    human = "" if share is None else f"{numbers.rate(share)} of the references do, "
    shown = [
        f"{each.id}: {each.found}" if each.found and check.least is None else each.id
        for each in entry.examples[:_SHOWN_IDS]
    ]
    sentence = check.warning.format(
        count=entry.count,
        n=entry.of,
        human=human,
        examples=("; " if ": " in "".join(shown) else ", ").join(shown),
    )
    return f"{sentence}; {check.consequence}." if check.consequence else sentence
