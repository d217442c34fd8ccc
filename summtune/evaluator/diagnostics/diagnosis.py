"""Looks for what makes scores misleading, in the outputs and, for comparison, in the references."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from summtune.base.numbers import counted
from summtune.base.writing import has_capitals, is_unspaced, word_count
from summtune.evaluator.diagnostics import copying, language, quantities, repetition, speakers, unread
from summtune.evaluator.diagnostics.checks import result, warnings
from summtune.evaluator.diagnostics.names import Lexicon, foreign_names, mentioned
from summtune.evaluator.diagnostics.words import shown
from summtune.evaluator.rouge import tokenize
from summtune.recipe.sections import Tokenizer
from summtune.runs.diagnostics import UNREAD_LETTERS, CheckResult, Diagnostics, LeakedDialogues
from summtune.runs.records import Prediction
from summtune.runs.statistics import Training

LENGTH_FACTOR = 2.0
"""How many times longer or shorter than its references a summary may be."""

CHECKED_CHARACTERS = 5_000
"""Characters of a summary that are checked: endless outputs must not slow down the diagnosis."""

_Found = dict[str, str | None]


def diagnose(
    predictions: Sequence[Prediction],
    *,
    tokenizer: Tokenizer | None = "rouge",
    leakage: Mapping[str, LeakedDialogues] | None = None,
    training: Training | None = None,
) -> Diagnostics:
    """Return the ``diagnostics`` of ``metrics.json``.

    Each check of a text is also made of the references, against
    the same dialogue; length and language of each reference are compared with the other references. A check that
    cannot be made is absent: without dialogues (empty) or without token counts (None). A share of the references that
    needs a second reference is None without one.

    Args:
        predictions: at least one.
        tokenizer: that ROUGE is computed with; None without ROUGE.
        leakage: by role, the test dialogues that were found in its data.
        training: what the model's training reported; None without one.
    """
    checks: dict[str, CheckResult] = _unread(predictions, tokenizer) if tokenizer is not None else {}
    checks |= _counted(predictions)
    texts = _Texts(predictions)
    checks |= texts.results()
    for role, found in (leakage or {}).items():
        examples = [(each.id, each.found) for each in found.examples]
        checks[f"leakage_{role}"] = result(f"leakage_{role}", examples, found.of, count=found.count)
    if training is not None and training.compared_tensors:
        unchanged = training.unchanged_tensors
        checks["weights_unchanged"] = result("weights_unchanged", [], training.compared_tensors, count=unchanged)
    means: dict[str, float | None] = {
        "prompt_tokens": _mean(p.prompt_tokens for p in predictions),
        "new_tokens": _mean(p.new_tokens for p in predictions),
        "prediction_words": fmean(word_count(p.prediction) for p in predictions),
        "reference_words": fmean(word_count(text) for p in predictions for text in p.references),
        **texts.means(),
    }
    if tokenizer is not None:
        means |= _unread_means(predictions, tokenizer)
    diagnostics = Diagnostics(checks=checks, means=means, notes=_notes(predictions), warnings=())
    sentences = (*unread.warnings(diagnostics.unread_letters), *warnings(checks))
    return diagnostics.model_copy(update={"warnings": sentences})


def _notes(predictions: Sequence[Prediction]) -> tuple[str, ...]:
    """Return sentences on what the checks of texts do not cover in the writing of the references."""
    letters = unread.unread_letters(((p.id, p.references) for p in predictions), "rouge")
    if letters.share < unread.SMALL:
        return ()
    notes = ["Numbers are compared in digits; number words are known in English and, in dialogues, in Chinese."]
    if not all(has_capitals(text) for p in predictions for text in p.references):
        notes.append("Names are looked for only in writing that has capitals.")
    if any(is_unspaced(text) for p in predictions for text in p.references):
        notes.append("Lengths, loops and copies are counted in characters in writing without spaces.")
    return tuple(notes)


def _unread(predictions: Sequence[Prediction], tokenizer: Tokenizer) -> dict[str, CheckResult]:
    """Return the checks of how much of the references ROUGE can read."""
    letters = unread.unread_letters(((p.id, p.references) for p in predictions), tokenizer)
    without = [
        (p.id, next((text for text in p.references if not tokenize(text, tokenizer)), None)) for p in predictions
    ]
    found = [(id_, shown(text)) for id_, text in without if text is not None]
    return {
        UNREAD_LETTERS: letters,
        "references_without_words": result("references_without_words", found, len(predictions)),
    }


def _unread_means(predictions: Sequence[Prediction], tokenizer: Tokenizer) -> dict[str, float | None]:
    """Return the shares of letters that ROUGE cannot read in outputs and references; None if it reads all."""
    ours = _mean(unread.unread_share(p.prediction, tokenizer) for p in predictions)
    theirs = _mean(unread.unread_share(text, tokenizer) for p in predictions for text in p.references)
    return {"unread_letters": ours or None, "reference_unread_letters": theirs or None}


def _counted(predictions: Sequence[Prediction]) -> dict[str, CheckResult]:
    """Return the checks that do not analyse the text."""
    n = len(predictions)
    constant = _constant_output(predictions)
    capped = [p for p in predictions if p.hit_length_cap is not None]
    cut = [p for p in predictions if p.truncated is not None]
    found = {
        "empty": result("empty", [(p.id, "") for p in predictions if not p.prediction.strip()], n),
        "constant": result("constant", [(p.id, shown(p.prediction)) for p in constant], n),
        "equal_to_reference": _equal_to_reference(predictions),
    }
    if capped:
        cases = [(p.id, "…" + shown(p.prediction[-40:])) for p in capped if p.hit_length_cap]
        found["length_cap"] = result("length_cap", cases, len(capped))
    if cut:
        found["truncated"] = result("truncated", [(p.id, "") for p in cut if p.truncated], len(cut))
    return found


def _equal_to_reference(predictions: Sequence[Prediction]) -> CheckResult:
    """Return the check of outputs that are a reference; that of a reference compares it with the others."""
    cases = [(p.id, shown(p.prediction)) for p in predictions if p.prediction.strip() in map(str.strip, p.references)]
    people = [
        text.strip() in map(str.strip, (*p.references[:at], *p.references[at + 1 :]))
        for p in predictions
        if len(p.references) > 1
        for at, text in enumerate(p.references)
    ]
    return result("equal_to_reference", cases, len(predictions), fmean(people) if people else None)


def _constant_output(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions with the same text if they are more than half of several; otherwise none.

    Equal empty outputs are reported as empty, not here.
    """
    texts = Counter(p.prediction.strip() for p in predictions)
    text, count = texts.most_common(1)[0]
    if not text or count < 2 or count * 2 <= len(predictions):
        return []
    return [p for p in predictions if p.prediction.strip() == text]


class _Texts:
    """The checks of the text, made of every prediction and every reference."""

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        self._found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._checked: Counter[str] = Counter()
        self._human: Counter[str] = Counter()
        self._human_checked: Counter[str] = Counter()
        self._novel: dict[str, list[float]] = defaultdict(list)
        self._ratios: list[float] = []
        self._lexicon = Lexicon(text for p in predictions for text in (p.dialogue, *p.references))
        for prediction in predictions:
            self._add(prediction)

    def results(self) -> dict[str, CheckResult]:
        """Return the entry of every check that was made."""
        human = {name: self._human[name] / of for name, of in self._human_checked.items()}
        return {name: result(name, self._found[name], of, human.get(name)) for name, of in self._checked.items()}

    def means(self) -> dict[str, float | None]:
        """Return the shares of new n-grams, of the outputs and of the references, and the ratio of lengths."""
        grams = [f"{whose}novel_{n}_grams" for whose in ("", "reference_") for n in range(1, copying.LONGEST_NOVEL + 1)]
        return {"length_ratio": fmean(self._ratios)} | {name: _mean(self._novel[name]) for name in grams}

    def _add(self, prediction: Prediction) -> None:
        dialogue = _DialogueChecks(prediction.dialogue, self._lexicon) if prediction.dialogue.strip() else None
        text = prediction.prediction[:CHECKED_CHARACTERS]
        references = tuple(reference[:CHECKED_CHARACTERS] for reference in prediction.references)
        found = self._check(text, dialogue, references, "")
        self._ratios.append(_length_ratio(text, references))
        for name, offending in found.items():
            self._checked[name] += 1
            if offending is not None:
                self._found[name].append((prediction.id, shown(offending)))
        for index, reference in enumerate(references):
            others = (*references[:index], *references[index + 1 :])
            for name, offending in self._check(reference, dialogue, others, "reference_").items():
                self._human_checked[name] += 1
                self._human[name] += offending is not None

    def _check(self, text: str, checks: _DialogueChecks | None, others: Sequence[str], whose: str) -> _Found:
        """Return by check what is wrong with a text, None if nothing is; ``others``: texts that it is compared with."""
        found: _Found = {"repetition": repetition.repeated(text)}
        said = copying.own_words(text)
        if checks is not None:
            found |= checks.made_of(text, said)
            for length, share in enumerate(copying.novel_shares(said, checks.source), start=1):
                if share is not None:
                    self._novel[f"{whose}novel_{length}_grams"].append(share)
        if others:
            ratio = _length_ratio(text, others)
            fits = (
                1 / LENGTH_FACTOR <= ratio <= LENGTH_FACTOR or not text.strip()
            )  # empty outputs have a separate check
            found["length"] = (
                None if fits else f"{counted(word_count(text), 'word')}, {ratio:.2f} times the references'"
            )
            found["language"] = language.other_language(
                text, frozenset(said), others, checks.source.vocabulary if checks else frozenset()
            )
        return found


class _DialogueChecks:
    """The checks against one dialogue, which is analysed once for all its summaries."""

    def __init__(self, dialogue: str, lexicon: Lexicon) -> None:
        self.source = copying.Source(dialogue)
        self._speakers = speakers.Speakers(dialogue)
        self._lexicon = lexicon
        self._mentioned = mentioned(dialogue)
        self._numbers = quantities.Numbers(dialogue)

    def made_of(self, text: str, said: Sequence[str]) -> _Found:
        misnamed = self._speakers.misnamed(text)
        found = {
            "copied": copying.copied(said, self.source),
            "speakers": _all(misnamed.absent),
            "speaker_spelling": _all(misnamed.respelled),
        }
        if has_capitals(text):
            found["names"] = _all(foreign_names(text, self._mentioned, self._lexicon))
        return found | {"numbers": _all(quantities.foreign_numbers(text, self._numbers))}


def _all(found: Iterable[str]) -> str | None:
    return ", ".join(dict.fromkeys(found)) or None


def _length_ratio(text: str, references: Sequence[str]) -> float:
    return word_count(text) / max(1.0, fmean(map(word_count, references)))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
