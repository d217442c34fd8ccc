"""Encodes summaries as the model is to write them: by themselves, or as what continues a prompt."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import IntFlag
from typing import NamedTuple

from summtune.runs.records import Dialogue
from summtune.work.tokens.encoding import EncodedPrompt, Offsets, PromptEncoder

_ONLY_REASONING = re.compile(r"\s*(?:<think>\s*</think>\s*)?")
"""What a template may write before a summary: reasoning without content, which is not part of a prediction."""


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
    ADDED = 16
    """The template writes something else before the summary."""


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
    asked = list(zip(prompts, exemplars, summaries, strict=True))
    texts = [encoder.text(prompt.dialogue, solved, prompt.typed, summary) for prompt, solved, summary in asked]
    found = []
    for (prompt, solved, summary), text, (ids, offsets) in zip(asked, texts, encoder.encoded_all(texts), strict=True):
        skeleton = encoder.skeleton(len(solved), completed=True)
        typed = prompt.typed or encoder.control.typed(ids, text, skeleton.control, skeleton.unknown)
        if typed:
            text = encoder.text(prompt.dialogue, solved, typed, summary)
            ids, offsets = encoder.encoded(text, typed)
        before = encoder.text(prompt.dialogue, solved, typed)
        found.append(
            _continued(encoder, prompt, _Conversation(before, text, ids, offsets, typed), summary.strip(), ends)
        )
    return found


class _Conversation(NamedTuple):
    """A prompt and its summary.

    Args:
        prompt: the text of the prompt.
        text: the text of both.
        ids: of the text.
        offsets: the character span of each token.
        typed: whether control tokens were encoded as text.
    """

    prompt: str
    text: str
    ids: list[int]
    offsets: Offsets
    typed: bool


def end_of_turn(encoder: PromptEncoder, ends: Collection[int]) -> int | None:
    """Return the token with which the chat template ends an answer; None if it writes none, or continues no prompt.

    Without a chat template, it is the tokenizer's end-of-sequence token.

    Args:
        encoder: of prompts that a summary continues.
        ends: the ids that end a generated summary.
    """
    if not encoder.continued:
        return None
    example = Dialogue("", "A: Hello.", ("Hello.",))
    encoder = replace(encoder, sequence_len=sys.maxsize)  # whether dialogues fit is reported with their names
    (prompt,) = encoder.encode([example])
    (found,) = completions(encoder, [prompt], [()], ["A says hello."], ends)
    # With a fault, the last token is any token. A template that takes back the thought that it opened for the answer
    # continues no prompt, and can still be used for one.
    return None if found.faults else found.ids[-1]


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
    encoder: PromptEncoder, prompt: EncodedPrompt, whole: _Conversation, summary: str, ends: Collection[int]
) -> Completion:
    """Return what follows the prompt in the whole conversation, up to the token that ends the summary."""
    start, ids, typed = len(prompt.ids), whole.ids, whole.typed
    if not whole.text.startswith(whole.prompt):
        return Completion([], typed, Fault.UNSTABLE)
    if ids[:start] != list(prompt.ids):
        return Completion(encoder.offsets_of(whole.text[len(whole.prompt) :], typed)[0], typed, Fault.MERGED)
    place = whole.text.find(summary, len(whole.prompt))
    if place < 0:
        return Completion(ids[start:], typed, Fault.ALTERED)
    if not _ONLY_REASONING.fullmatch(whole.text, len(whole.prompt), place):
        return Completion(ids[start:], typed, Fault.ADDED)
    if encoder.rendering.is_chat:
        after, known = place + len(summary), {*ends, *encoder.control.names}
        for at in range(start, len(ids)):
            if whole.offsets[at][0] >= after and ids[at] in known:
                return Completion(ids[start : at + 1], typed)
    elif encoder.tokenizer.eos_token_id is not None:
        return Completion([*ids[start:], encoder.tokenizer.eos_token_id], typed)
    return Completion(ids[start:], typed, Fault.NO_END)
