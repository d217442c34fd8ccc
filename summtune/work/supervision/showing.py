"""Shows the first prompts and completions of a role as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from summtune.base.files import read_jsonl
from summtune.runs.inspection import ShownExample, ShownRole, ShownToken
from summtune.runs.records import Dialogue
from summtune.work.supervision.checks import completion_lengths, prompt_lengths
from summtune.work.supervision.token_texts import token_texts
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.tokens import Tokens


def trained_role(tokens: Tokens, data: Path, encoder: PromptEncoder, count: int) -> ShownRole:
    """Return a role that is trained on, or evaluated in training.

    Args:
        tokens: of the role.
        data: its dialogues.
        encoder: of the prompts.
        count: how many examples to show.
    """
    numbers = np.searchsorted(tokens.prompt_rows, tokens.pair_prompts)  # of the dialogues
    cut = np.array([prompt.truncated for prompt in tokens.prompts], dtype=bool)
    places = _places(cut[numbers].tolist(), count)
    dialogues = dict(_dialogues(data, numbers[places].tolist()))
    shown = []
    for place in places:
        dialogue, pair = dialogues[int(numbers[place])], tokens.pairs[place]
        prompt, completion = list(pair["input_ids"]), list(pair["labels"])
        shown.append(_example(encoder, dialogue, (), prompt, completion, bool(cut[numbers[place]])))
    leaves_out = encoder.long_dialogues == "drop"
    return ShownRole(
        dialogues=len(tokens.prompts),
        examples=len(tokens.pairs),
        cut=0 if leaves_out else tokens.truncated,
        left_out=tokens.truncated if leaves_out else 0,
        longest_prompt=int(prompt_lengths(tokens).max()),
        longest_completion=int(completion_lengths(tokens).max()),
        shown=tuple(shown),
    )


def asked_role(
    tokens: Tokens, data: Path, encoder: PromptEncoder, exemplars: Sequence[Sequence[Dialogue]], count: int
) -> ShownRole:
    """Return a role whose dialogues are answered.

    Args:
        tokens: of the role.
        data: its dialogues.
        encoder: of the prompts.
        exemplars: those of each dialogue; empty without any.
        count: how many examples to show.
    """
    places = _places([prompt.truncated for prompt in tokens.prompts], count)
    shown = []
    for place, dialogue in _dialogues(data, places):
        prompt = tokens.prompts[place]
        solved = exemplars[place] if exemplars else ()
        shown.append(_example(encoder, dialogue, solved, list(prompt.ids), [], prompt.truncated))
    return ShownRole(
        dialogues=len(tokens.prompts),
        examples=len(tokens.prompts),
        cut=tokens.truncated,
        left_out=0,
        longest_prompt=max(len(prompt.ids) for prompt in tokens.prompts),
        longest_completion=None,
        shown=tuple(shown),
    )


def _places(cut: Sequence[bool], count: int) -> list[int]:
    """Return the first examples, and the first one that is cut."""
    places = list(range(min(count, len(cut))))
    first_cut = next((place for place, is_cut in enumerate(cut) if is_cut), None)
    return places if first_cut is None or first_cut < count or not count else [*places, first_cut]


def _dialogues(data: Path, places: Iterable[int]) -> Iterator[tuple[int, Dialogue]]:
    wanted = set(places)
    for place, row in enumerate(islice(read_jsonl(data), max(wanted, default=-1) + 1)):
        if place in wanted:
            yield place, Dialogue.from_json(row)


def _example(
    encoder: PromptEncoder,
    dialogue: Dialogue,
    exemplars: Sequence[Dialogue],
    prompt: list[int],
    completion: list[int],
    cut: bool,
) -> ShownExample:
    ids = [*prompt, *completion] if encoder.continued else prompt
    texts = token_texts(encoder.tokenizer, ids)
    if not encoder.continued:
        texts += token_texts(encoder.tokenizer, completion)
    tokens = tuple(
        ShownToken(id=number, text=text, trained=place >= len(prompt))
        for place, (number, text) in enumerate(zip([*prompt, *completion], texts, strict=True))
    )
    return ShownExample(
        id=dialogue.id,
        prompt=tokens[: len(prompt)],
        completion=tokens[len(prompt) :],
        exemplars=tuple(one.id for one in exemplars),
        cut=cut,
        cut_before=_cut_before(encoder, dialogue, exemplars) if cut else None,
    )


def _cut_before(encoder: PromptEncoder, dialogue: Dialogue, exemplars: Sequence[Dialogue]) -> int | None:
    """Return the place of the first token after the cut; None if the dialogue is written in another way."""
    (prompt,) = encoder.encode([dialogue], [exemplars])
    text = encoder.text(prompt.dialogue, exemplars, prompt.typed)
    start = text.rfind(prompt.dialogue)
    if start < 0:
        return None
    at = start if encoder.long_dialogues == "truncate_start" else start + len(prompt.dialogue)
    _, offsets = encoder.encoded(text, prompt.typed)
    return next((place for place, (_, end) in enumerate(offsets) if end > at), None)
