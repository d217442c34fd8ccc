"""Looks for what makes scores misleading, in the outputs and, beside them, in what people wrote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from summtune.base.writing import has_capitals, is_unspaced, word_count
from summtune.evaluator.diagnostics import copying, language, quantities, repetition, speakers, unread
from summtune.evaluator.diagnostics.checks import result, warnings
from summtune.evaluator.diagnostics.names import Lexicon, foreign_names, mentioned
from summtune.evaluator.diagnostics.words import shown
from summtune.evaluator.rouge import tokenize
from summtune.recipe.sections import Tokenizer
from summtune.runs.records import Prediction

LENGTH_FACTOR = 2.0
"""How many times longer or shorter than its references a summary may be."""

LOOKED_AT = 5_000
"""Characters of a summary that are looked at: a model that never ends must not hold up its own diagnosis."""

_Found = dict[str, str | None]


def diagnose(
    predictions: Sequence[Prediction],
    *,
    tokenizer: Tokenizer | None = "rouge",
    leakage: Mapping[str, Mapping[str, Any]] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the ``diagnostics`` of ``metrics.json``: ``checks``, ``means``, ``notes`` and ``warnings``.

    ``checks`` holds by name what `checks.result` returns. Each check of a text is also made of the references, against
    the same dialogue; length and language of each reference against the others. A check that cannot be made is absent:
    without dialogues (empty), without counts of tokens (None). Without a second reference a human share is None.
    ``means`` holds numbers or None, ``notes`` sentences on what the checks do not see in such writing, ``warnings`` one
    sentence for each finding that a reader of the scores must know.

    Args:
        predictions: at least one.
        tokenizer: that ROUGE is computed with; None where no ROUGE is.
        leakage: ``data.leakage`` of the plan: by role the test dialogues that were found in its data.
        weights: ``unchanged_tensors`` and ``compared_tensors`` of ``training.json``.
    """
    checks = _unread(predictions, tokenizer) if tokenizer is not None else {}
    checks |= _counted(predictions)
    texts = _Texts(predictions)
    checks |= texts.results()
    for role, found in (leakage or {}).items():
        examples = [(each["id"], each["found"]) for each in found["examples"]]
        checks[f"leakage_{role}"] = result(f"leakage_{role}", examples, found["of"], count=found["count"])
    if weights and weights.get("compared_tensors"):  # none where an older summtune trained
        of, unchanged = weights["compared_tensors"], weights["unchanged_tensors"]
        checks["weights_unchanged"] = result("weights_unchanged", [], of, count=unchanged)
    means = {
        "prompt_tokens": _mean(p.prompt_tokens for p in predictions),
        "new_tokens": _mean(p.new_tokens for p in predictions),
        "prediction_words": fmean(word_count(p.prediction) for p in predictions),
        "reference_words": fmean(word_count(text) for p in predictions for text in p.references),
        **texts.means(),
    }
    if tokenizer is not None:
        means |= _unread_means(predictions, tokenizer)
    return {
        "checks": checks,
        "means": means,
        "notes": _notes(predictions),
        "warnings": [*unread.warnings(checks.get(unread.NAME)), *warnings(checks)],
    }


def _notes(predictions: Sequence[Prediction]) -> list[str]:
    """Return what the checks of texts do not see in the writing of the references."""
    letters = unread.unread_letters(((p.id, p.references) for p in predictions), "rouge")
    if letters["share"] < unread.SMALL:
        return []
    notes = ["Numbers are compared in digits; words for numbers are known in English, and of dialogues in Chinese."]
    if not all(has_capitals(text) for p in predictions for text in p.references):
        notes.append("Names are looked for in writing that has capitals, and not in any other.")
    if any(is_unspaced(text) for p in predictions for text in p.references):
        notes.append("Lengths, loops and copies are counted in characters where writing has no spaces.")
    return notes


def _unread(predictions: Sequence[Prediction], tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Return the checks of what ROUGE can read of the references."""
    letters = unread.unread_letters(((p.id, p.references) for p in predictions), tokenizer)
    without = [
        (p.id, next((text for text in p.references if not tokenize(text, tokenizer)), None)) for p in predictions
    ]
    found = [(id_, shown(text)) for id_, text in without if text is not None]
    return {
        unread.NAME: letters,
        "references_without_words": result("references_without_words", found, len(predictions)),
    }


def _unread_means(predictions: Sequence[Prediction], tokenizer: Tokenizer) -> dict[str, float | None]:
    """Return the shares of letters that ROUGE cannot read, of the outputs and of the references; None where it can."""
    ours = _mean(unread.unread_share(p.prediction, tokenizer) for p in predictions)
    theirs = _mean(unread.unread_share(text, tokenizer) for p in predictions for text in p.references)
    return {"unread_letters": ours or None, "reference_unread_letters": theirs or None}


def _counted(predictions: Sequence[Prediction]) -> dict[str, dict[str, Any]]:
    """Return the checks that need no look at what is written."""
    n = len(predictions)
    constant = _constant_output(predictions)
    capped = [p for p in predictions if p.hit_length_cap is not None]
    cut = [p for p in predictions if p.truncated is not None]
    found = {
        "empty": result("empty", [(p.id, "") for p in predictions if not p.prediction.strip()], n),
        "constant": result("constant", [(p.id, shown(p.prediction)) for p in constant], n),
    }
    if capped:
        cases = [(p.id, "…" + shown(p.prediction[-40:])) for p in capped if p.hit_length_cap]
        found["length_cap"] = result("length_cap", cases, len(capped))
    if cut:
        found["truncated"] = result("truncated", [(p.id, "") for p in cut if p.truncated], len(cut))
    return found


def _constant_output(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions that say the same, if they are more than half of several; else none.

    Equal empty outputs are reported as empty, not here.
    """
    texts = Counter(p.prediction.strip() for p in predictions)
    text, count = texts.most_common(1)[0]
    if not text or count < 2 or count * 2 <= len(predictions):
        return []
    return [p for p in predictions if p.prediction.strip() == text]


class _Texts:
    """The checks of what is written, asked of every prediction and every reference."""

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        self._found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._asked: Counter[str] = Counter()
        self._human: Counter[str] = Counter()
        self._human_asked: Counter[str] = Counter()
        self._novel: dict[str, list[float]] = defaultdict(list)
        self._ratios: list[float] = []
        self._lexicon = Lexicon(text for p in predictions for text in (p.dialogue, *p.references))
        for prediction in predictions:
            self._look_at(prediction)

    def results(self) -> dict[str, dict[str, Any]]:
        """Return the entry of every check that was made."""
        human = {name: self._human[name] / asked for name, asked in self._human_asked.items()}
        return {name: result(name, self._found[name], of, human.get(name)) for name, of in self._asked.items()}

    def means(self) -> dict[str, float | None]:
        """Return the shares of new n-grams, of the outputs and of the references, and the ratio of lengths."""
        grams = [f"{whose}novel_{n}_grams" for whose in ("", "reference_") for n in range(1, copying.LONGEST_NOVEL + 1)]
        return {"length_ratio": fmean(self._ratios)} | {name: _mean(self._novel[name]) for name in grams}

    def _look_at(self, prediction: Prediction) -> None:
        dialogue = _DialogueChecks(prediction.dialogue, self._lexicon) if prediction.dialogue.strip() else None
        text = prediction.prediction[:LOOKED_AT]
        references = tuple(reference[:LOOKED_AT] for reference in prediction.references)
        found = self._ask(text, dialogue, references, "")
        self._ratios.append(_length_ratio(text, references))
        for name, offending in found.items():
            self._asked[name] += 1
            if offending is not None:
                self._found[name].append((prediction.id, shown(offending)))
        for place, reference in enumerate(references):
            others = (*references[:place], *references[place + 1 :])
            for name, offending in self._ask(reference, dialogue, others, "reference_").items():
                self._human_asked[name] += 1
                self._human[name] += offending is not None

    def _ask(self, text: str, checks: _DialogueChecks | None, others: Sequence[str], whose: str) -> _Found:
        """Return by check what is wrong with a text, None where nothing is; ``others``: what it is held against."""
        found: _Found = {"repetition": repetition.repeated(text)}
        said = copying.own_words(text)
        if checks is not None:
            found |= checks.ask(text, said)
            for length, share in enumerate(copying.novel_shares(said, checks.source), start=1):
                if share is not None:
                    self._novel[f"{whose}novel_{length}_grams"].append(share)
        if others:
            ratio = _length_ratio(text, others)
            fits = 1 / LENGTH_FACTOR <= ratio <= LENGTH_FACTOR or not text.strip()  # empty is a check of its own
            found["length"] = None if fits else f"{word_count(text)} words, {ratio:.2f} times the references'"
            found["language"] = language.other_language(
                text, frozenset(said), others, checks.source.vocabulary if checks else frozenset()
            )
        return found


class _DialogueChecks:
    """The checks against one dialogue, whose words are looked up once for all its summaries."""

    def __init__(self, dialogue: str, lexicon: Lexicon) -> None:
        self.source = copying.Source(dialogue)
        self._speakers = speakers.Speakers(dialogue)
        self._lexicon = lexicon
        self._mentioned = mentioned(dialogue)
        self._numbers = quantities.Numbers(dialogue)

    def ask(self, text: str, said: Sequence[str]) -> _Found:
        misnamed = self._speakers.misnamed(text)
        found = {
            "copied": copying.copied(said, self.source),
            "speakers": _all(misnamed.absent),
            "speaker_spelling": _all(misnamed.otherwise),
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
