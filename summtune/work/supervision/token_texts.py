"""Writes tokens as texts that people can read one by one."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_BEFORE = 4
"""Tokens before one that its text may depend on: a space, or the first bytes of its character."""
_INCOMPLETE = "\ufffd"

BORDER = "│"
"""What separates tokens in a message."""


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Return the text that each token adds to those before it; or, if it adds none, its name in the vocabulary.

    Args:
        tokenizer: of the ids.
        ids: of a sequence.
    """
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    texts = []
    for place in range(len(ids)):
        start = max(0, place - _BEFORE)
        before, with_it = _decoded(tokenizer, ids[start:place]), _decoded(tokenizer, ids[start : place + 1])
        added = with_it[len(before) :]
        apart = not added or _INCOMPLETE in with_it[-2:] or not with_it.startswith(before)
        texts.append(str(pieces[place]) if apart else added)
    return texts


def shown_tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return tokens on one line, with a border between them."""
    return BORDER.join(text.replace("\n", "⏎").replace("\t", "⇥") for text in token_texts(tokenizer, ids))


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text
