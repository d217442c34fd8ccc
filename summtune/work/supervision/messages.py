"""Tells which examples of a training are wrong: how many, one of them by its id, the tokens around the fault."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from summtune.base.files import read_jsonl
from summtune.runs.records import Dialogue
from summtune.runs.supervision import Check
from summtune.work.supervision.checks import Lesson, Violation, completion_lengths
from summtune.work.supervision.token_texts import shown_tokens
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.tokens import Tokens

_AROUND = 6
"""Tokens that are shown on each side of a fault."""


class _Words(NamedTuple):
    """What is wrong with an example, and what to do."""

    problem: str
    advice: str


_WORDS: dict[Check, _Words] = {
    "one_bos": _Words(
        "two beginning-of-sequence tokens follow each other",
        "remove one: from the chat template, from prompt_template, or from the post-processor in tokenizer.json",
    ),
    "stable_template": _Words(
        "the chat template changes the prompt once the answer follows it, so the model would learn from another prompt "
        "than it is asked with",
        "set what the template needs in chat_template_kwargs (`enable_thinking: false` for many reasoning models), or "
        "name another file in chat_template",
    ),
    "prompt_kept": _Words(
        "the tokenizer merges the end of the prompt with the beginning of the summary, so the model would learn from "
        "another prompt than it is asked with",
        "let prompt_template or the chat template end with a character that merges with nothing, such as a colon",
    ),
    "summary_unchanged": _Words(
        "the chat template does not write the summary as it is", "name another file in chat_template"
    ),
    "nothing_added": _Words(
        "the chat template writes something else before the summary, which the model would learn as a part of it",
        "let the template write it also where add_generation_prompt is true, or name another file in chat_template",
    ),
    "end_written": _Words(
        "no token ends the summary, so the model would not learn to stop",
        "let the chat template end an answer with a special token, or name an eos_token in tokenizer_config.json",
    ),
    "end_stops_generation": _Words(
        "the last token that is trained on does not end a generated summary, so the model would not learn to stop",
        "correct eos_token_id in generation_config.json, or the post-processor in tokenizer.json",
    ),
    "not_cut": _Words("the summary exceeds target_len", "shorten these summaries, or leave them out"),
    "not_empty": _Words("the summary has no token that can be trained on", "leave these summaries out"),
    "prompt_as_generated_from": _Words(
        "the prompt is not the one that the model is asked with", "delete the cached tokens, and report this fault"
    ),
    "completion_alone_is_trained": _Words(
        "the tokens that are scored are not the completion alone", "report this fault with the recipe"
    ),
}


def violation_message(role: str, tokens: Tokens, data: Path, lesson: Lesson, found: Violation) -> str:
    """Return one sentence about the examples that fail a check.

    Args:
        role: of the examples.
        tokens: of the role.
        data: its dialogues, as the command wrote them.
        lesson: that was checked against.
        found: the examples.
    """
    problem, advice = _WORDS[found.check]
    if found.check == "not_cut":
        longest = int(completion_lengths(tokens).max())
        problem = f"the summary exceeds target_len {lesson.target_len} (the longest has {longest} tokens)"
        advice = f"set target_len to {longest} or more, {advice}"
    place = found.places[0]
    of_prompt = found.check == "prompt_as_generated_from"
    dialogue, reference = _example(tokens, data, place, of_prompt)
    shown = _shown(tokens, lesson, found.check, place, dialogue, reference)
    return (
        f"{role}: {problem}, in {len(found.places):,} of {found.of:,} examples (got {shown} for {dialogue.id!r}); "
        f"{advice}"
    )


def _example(tokens: Tokens, data: Path, place: int, is_dialogue: bool) -> tuple[Dialogue, str]:
    """Return the dialogue of a pair, and the reference that the pair is of."""
    number = place
    if not is_dialogue:
        number = int(np.searchsorted(tokens.prompt_rows, tokens.pair_prompts[place]))
    row = next(islice(read_jsonl(data), number, None))
    dialogue = Dialogue.from_json(row)
    first = 0 if is_dialogue else int(np.searchsorted(tokens.pair_prompts, tokens.pair_prompts[place]))
    return dialogue, dialogue.references[0 if is_dialogue else place - first]


def _shown(tokens: Tokens, lesson: Lesson, check: Check, place: int, dialogue: Dialogue, reference: str) -> str:
    encoder = lesson.encoder
    if check == "prompt_as_generated_from":
        (asked,) = lesson.generating.encode([dialogue])
        return _apart(encoder, list(tokens.prompts[place].ids), list(asked.ids), "trained on", "asked with")
    pair = tokens.pairs[place]
    prompt, completion = list(pair["input_ids"]), list(pair["labels"])
    match check:
        case "one_bos":
            whole = [*prompt, *completion]
            bos = encoder.tokenizer.bos_token_id
            at = next((at for at in range(len(whole) - 1) if whole[at] == whole[at + 1] == bos), 0)
            return _around(encoder, whole, at)
        case "stable_template":
            (asked,) = encoder.encode([dialogue])
            before = encoder.text(asked.dialogue, (), asked.typed)
            whole_text = encoder.text(asked.dialogue, (), asked.typed, reference)
            answered, unanswered = (encoder.encoded(text, asked.typed)[0] for text in (whole_text, before))
            return _apart(encoder, answered, unanswered, "with the answer", "without")
        case "prompt_kept":
            (asked,) = encoder.encode([dialogue])
            answered, _ = encoder.encoded(encoder.text(asked.dialogue, (), asked.typed, reference), asked.typed)
            return _apart(encoder, answered, prompt, "with the summary", "without")
        case "end_written" | "end_stops_generation":
            return _quoted(encoder, completion[-_AROUND:])
        case "not_cut":
            return _around(encoder, completion, lesson.target_len)
        case _:
            return _quoted(encoder, [*prompt[-_AROUND:], *completion[: 2 * _AROUND]])


def _apart(encoder: PromptEncoder, one: Sequence[int], other: Sequence[int], of_one: str, of_other: str) -> str:
    """Return the tokens around the place where two sequences differ."""
    same = next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    return f"{_around(encoder, one, same)} {of_one}, {_around(encoder, other, same)} {of_other}"


def _around(encoder: PromptEncoder, ids: Sequence[int], at: int) -> str:
    return _quoted(encoder, ids[max(0, at - _AROUND) : at + _AROUND])


def _quoted(encoder: PromptEncoder, ids: Sequence[int]) -> str:
    return f"`{shown_tokens(encoder.tokenizer, ids)}`" if ids else "no token"
