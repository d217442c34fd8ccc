"""Encodes summaries as the model is to write them: by themselves, or as what continues a prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntFlag
from typing import NamedTuple

from summtune.runs.records import Dialogue
from summtune.work.tokens.encoding import EncodedPrompt, PromptEncoder


class Fault(IntFlag):
    """What is wrong with a completion, so that a model would learn something else than what it is asked later."""

    UNSTABLE = 1
    """The template changes the text of the prompt once the answer follows."""
    MERGED = 2
    """The tokens of the prompt are others once the answer follows."""
    ALTERED = 4
    """The template does not write the summary as it is."""
    NO_END = 8
    """No token that ends a turn follows the summary."""
    CUT = 16
    """The completion has more tokens than target_len."""


class Completion(NamedTuple):
    """The tokens that a model learns to write after a prompt.

    Args:
        ids: with the token that ends the summary, the last one unless there is none.
        typed: whether the summary contains control tokens, which were encoded as text.
        faults: what is wrong with it.
    """

    ids: list[int]
    typed: bool
    faults: Fault = Fault(0)


def completions(
    encoder: PromptEncoder,
    prompts: Sequence[EncodedPrompt],
    exemplars: Sequence[Sequence[Dialogue]],
    summaries: Sequence[str],
    ends: Collection[int],
) -> list[Completion]:
    """Return the completion of each prompt.

    Args:
        encoder: that encoded the prompts.
        prompts: one for each summary.
        exemplars: those of each prompt.
        summaries: to be written.
        ends: the ids that end a generated summary.
    """
    if not encoder.continued:
        return [Completion(ids, typed) for ids, typed in encoder.encode_summaries(summaries)]
    return [
        _continued(encoder, prompt, solved, summary, ends)
        for prompt, solved, summary in zip(prompts, exemplars, summaries, strict=True)
    ]


def end_of_turn(encoder: PromptEncoder, ends: Collection[int]) -> int | None:
    """Return the token with which the chat template ends an answer; None if it writes none.

    Without a chat template, it is the tokenizer's end-of-sequence token.

    Args:
        encoder: of prompts that a summary continues.
        ends: the ids that end a generated summary.
    """
    if not encoder.continued:
        return None
    example = Dialogue("", "A: Hello.", ("Hello.",))
    (prompt,) = encoder.encode([example])
    found = _continued(encoder, prompt, (), "A says hello.", ends)
    return None if Fault.NO_END in found.faults else found.ids[-1]


def all_ends(encoder: PromptEncoder, ends: Sequence[int]) -> tuple[int, ...]:
    """Return the ids that end a generated summary, with the one that a chat template ends answers with.

    The files of some models name only the token that ends a document, not the one that ends a turn.

    Args:
        encoder: of the run's prompts.
        ends: according to the model's files.
    """
    own = end_of_turn(encoder, ends)
    return tuple(ends) if own is None or own in ends else (*ends, own)


def _continued(
    encoder: PromptEncoder,
    prompt: EncodedPrompt,
    exemplars: Sequence[Dialogue],
    summary: str,
    ends: Collection[int],
) -> Completion:
    """Return what follows the prompt in the whole conversation, up to the token that ends the answer."""
    asked = encoder.text(prompt.dialogue, exemplars, prompt.typed)
    text = encoder.text(prompt.dialogue, exemplars, prompt.typed, summary)
    ids, offsets = encoder.encoded(text, prompt.typed)
    typed = prompt.typed
    skeleton = encoder.skeleton(len(exemplars), completed=True)
    if not typed and encoder.control.typed(ids, text, skeleton.control, skeleton.unknown):
        typed = True
        asked = encoder.text(prompt.dialogue, exemplars, typed)
        text = encoder.text(prompt.dialogue, exemplars, typed, summary)
        ids, offsets = encoder.encoded(text, typed)
    faults = Fault(0)
    if not text.startswith(asked):
        return Completion([], typed, Fault.UNSTABLE)
    start = len(prompt.ids)
    if ids[:start] != list(prompt.ids):
        # What would be generated after the prompt, so that the fault can be shown.
        ids, offsets = [*prompt.ids, *encoder.offsets_of(text[len(asked) :], typed)[0]], []
        return Completion(ids[start:], typed, Fault.MERGED)
    written = summary.strip()
    place = text.find(written, len(asked))
    if place < 0:
        return Completion(ids[start:], typed, Fault.ALTERED)
    if not encoder.rendering.is_chat:
        end = encoder.tokenizer.eos_token_id
        return (
            Completion([*ids[start:], end], typed) if end is not None else Completion(ids[start:], typed, Fault.NO_END)
        )
    after = place + len(written)
    known = {*ends, *encoder.control.names}
    for at in range(start, len(ids)):
        if offsets[at][0] >= after and ids[at] in known:
            return Completion(ids[start : at + 1], typed, faults)
    return Completion(ids[start:], typed, Fault.NO_END)
