"""Writes warnings and remarks about what a tokenizer loses of a role's texts."""

from __future__ import annotations

from collections.abc import Iterator

from summtune.base.visible import visible
from summtune.runs.events import Events
from summtune.runs.statistics import LossesOfTexts, LossTally, TextLosses

_OTHER_MODEL = "use a model whose tokenizer covers this script, such as google/mt5-small"
_MANY = 0.02  # share of the characters: more than a few symbols

_CHANGES = {
    "case": "upper and lower case",
    "accents": "accents",
    "dropped": "characters",
}


def loss_warnings(role: str, lost: TextLosses) -> list[str]:
    """Return one sentence for each loss that a user should act on.

    Args:
        role: train, validation or test; the model learns lossy summaries, but in the test role the references contain
            what the model cannot write.
        lost: what the tokenizer loses of the role's texts.
    """
    return [f"{role}: {sentence}" for sentence in (*_of_template(lost), *_of_prompts(lost), *_of_summaries(role, lost))]


def loss_remarks(role: str, lost: TextLosses) -> list[str]:
    """Return one sentence for each harmless change: control tokens encoded as text, spaces, forms of characters."""
    summaries = lost.summaries
    found = [f"{role}: {sentence}" for sentence in _typed("dialogues", lost.prompts)]
    if role != "test":  # test references are not trained on
        found += [f"{role}: {sentence}" for sentence in _typed("summaries", summaries)]
    for name, what in (
        ("spaces", "runs of spaces or tabs, which become one space"),
        ("spacing", "the spaces around some characters"),
        ("rewritten", "characters that the tokenizer replaces with simpler forms"),
    ):
        tally = summaries.lost.get(name)
        if tally:
            found.append(f"{role}: {_some(tally, summaries)} summaries contain {what} ({_examples(tally)})")
    return found


def tell_losses(role: str, lost: TextLosses, events: Events) -> None:
    """Report losses as warnings and harmless changes as messages."""
    for sentence in loss_warnings(role, lost):
        events.warn(sentence)
    for sentence in loss_remarks(role, lost):
        events.say(sentence)


def _of_template(lost: TextLosses) -> Iterator[str]:
    if lost.template:
        yield (
            f"the tokenizer has no token for some characters in prompt_template (got {_shown(lost.template)}); "
            "replace them"
        )


def _of_prompts(lost: TextLosses) -> Iterator[str]:
    prompts = lost.prompts
    tally = prompts.lost.get("unknown")
    if tally:
        yield (
            f"the tokenizer has no token for {_share(tally, prompts)} of the characters in dialogues: "
            f"{_some(tally, prompts)} dialogues {_unknown(tally)}, and the model cannot read them "
            f"({_examples(tally)}); {_advice(tally, prompts)}"
        )


def _of_summaries(role: str, lost: TextLosses) -> Iterator[str]:
    summaries = lost.summaries
    tested = role == "test"
    what = "reference summaries" if tested else "summaries"
    tally = summaries.lost.get("unknown")
    if tally:
        effect = (
            "the model cannot write them, so no output can equal these references and scores have a ceiling"
            if tested
            else "the model learns to write summaries without them"
        )
        yield (
            f"the tokenizer has no token for {_share(tally, summaries)} of the characters in {what}: "
            f"{_some(tally, summaries)} {what} {_unknown(tally)}; {effect} ({_examples(tally)}); "
            f"{_advice(tally, summaries)}"
        )
    tally = summaries.lost.get("lines")
    if tally:
        effect = (
            "the model cannot write them, and its summaries are on one line"
            if tested
            else "the model learns to write such summaries on one line"
        )
        yield (
            f"the tokenizer loses the line breaks of {_some(tally, summaries)} {what}: {effect} "
            f"(for instance {_ids(tally)})"
        )
    tally = summaries.lost.get("hidden")
    if tally:
        yield (
            f"{_some(tally, summaries)} {what} contain special tokens, which decoding omits from the output "
            f"({_examples(tally)}); add them to the tokenizer as ordinary tokens"
        )
    for name, lost_things in _CHANGES.items():
        tally = summaries.lost.get(name)
        if tally:
            effect = "the model cannot write them" if tested else "the model learns to write summaries without them"
            yield (
                f"the tokenizer loses {lost_things} of {_some(tally, summaries)} {what}: {effect} ({_examples(tally)})"
            )


def _typed(what: str, of: LossesOfTexts) -> Iterator[str]:
    tally = of.lost.get("control")
    if tally:
        yield (
            f"{_some(tally, of)} {what} contain the text of control tokens, which is encoded as text "
            f"({_examples(tally)})"
        )


def _unknown(tally: LossTally) -> str:
    if not tally.tokens:  # the tokenizer drops unknown characters
        return f"lose {_count(tally.characters, 'character')}"
    tokens, characters = tally.tokens, tally.characters
    return f"have {_count(tokens, 'unknown token')} instead of {_count(characters, 'character')}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(tally: LossTally, of: LossesOfTexts) -> str:
    return f"{tally.texts:,} of {of.texts:,}"


def _advice(tally: LossTally, of: LossesOfTexts) -> str:
    many = tally.characters > _MANY * of.characters
    return _OTHER_MODEL if many else "replace them in the data, or use a model whose tokenizer has them"


def _share(tally: LossTally, of: LossesOfTexts) -> str:
    share = 100 * tally.characters / max(of.characters, 1)
    if share < 0.1:
        return "less than 0.1 %"
    return f"{share:.1f} %" if share < 10 else f"{share:.0f} %"


def _examples(tally: LossTally) -> str:
    shown = "; ".join(
        f"{_shown(identity)}: {_shown(text)}" if text else _shown(identity) for identity, text in tally.examples
    )
    return f"for instance {shown}"


def _ids(tally: LossTally) -> str:
    return ", ".join(_shown(identity) for identity, _ in tally.examples)


def _shown(text: str) -> str:
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")
