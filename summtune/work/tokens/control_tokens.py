"""Encodes control tokens that people typed, such as ``</s>`` in a dialogue, as plain text.

A tokenizer recognizes its control tokens wherever their text occurs. ``encode_special_tokens`` of the tokenizers
library does not help if the vocabulary itself has them, as in T5's Unigram model. So texts that contain one, and only
those, are encoded by a copy of the tokenizer in which control tokens have names that nobody types; the ids are the
same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

# <|im_end|>, <extra_id_0>, <mask_1>: tokens of the pretraining.
_PRETRAINED = re.compile(r"<\|.*\|>|<(?:extra_id|mask|unk|sentinel)_?\d*>|\[unused\d*\]", re.DOTALL)
# <sep>, [SEP], __en__, en_XX, eng_Latn, if the vocabulary has them. Special tokens outside the vocabulary, such as
# #Person1# or <speaker1>, were added because they occur in data.
_MARKUP = re.compile(r"<.*>|\[.*\]|__\w+__|[a-z]{2,3}_[A-Za-z]{2,4}", re.DOTALL)


class ControlTokens:
    """The control tokens of a tokenizer.

    Args:
        tokenizer: fast.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        at_of = tokenizer.backend_tokenizer.token_to_id
        named = {at: name for name in tokenizer.all_special_tokens if (at := at_of(name)) is not None}
        roles = {token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
        added = {at: token.content for at, token in tokenizer.added_tokens_decoder.items() if token.special}
        special = dict(sorted({**named, **added}.items()))
        learned = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
        self.names: dict[int, str] = {
            at: name
            for at, name in special.items()
            if name in roles or _PRETRAINED.fullmatch(name) or (name in learned and _MARKUP.fullmatch(name))
        }
        """The text of each control token, by id."""
        self.of_data: dict[int, str] = {at: name for at, name in special.items() if at not in self.names}
        """Special tokens that were added for data; they stay whole, and decoding a summary omits them."""
        unknown = tokenizer.unk_token_id
        self._unknown = unknown if list(tokenizer.special_tokens_map.values()).count(tokenizer.unk_token) == 1 else None
        self._ids = frozenset(self.names) - {self._unknown}

    def counted(self, ids: Sequence[int]) -> Counter[int]:
        """Return how often each control token is among ``ids``."""
        return Counter(at for at in ids if at in self._ids)

    def typed(self, ids: Sequence[int], text: str, expected: Mapping[int, int], unknown: int = 0) -> bool:
        """Return whether ``ids`` has more control tokens than the ``expected`` ones.

        Args:
            ids: of the text.
            text: that was encoded.
            expected: how often each control token is there without the texts of dialogues and summaries.
            unknown: how often the text of the unknown token is.
        """
        for found in self._ids.intersection(ids):
            if ids.count(found) > expected.get(found, 0):
                return True
        return self._unknown in ids and self._unknown is not None and text.count(self.names[self._unknown]) > unknown

    def count_unknown(self, text: str) -> int:
        """Return how often ``text`` contains the text of the unknown token."""
        return 0 if self._unknown is None else text.count(self.names[self._unknown])

    def in_text(self, text: str) -> list[str]:
        """Return the control tokens whose text is in ``text``."""
        return [name for name in self.names.values() if name in text]

    def concealed(self, text: str) -> str:
        """Return a dialogue or a summary in which control tokens are stand-ins, so that `written` tells them apart."""
        return self._replaced(text, _typed)

    def renamed(self, template: str) -> str:
        """Return the template in which ``literal`` recognizes the control tokens that the tokenizer recognizes."""
        return self._replaced(template, _unwritten)

    def written(self, text: str) -> str:
        """Return a text of a chat template for ``literal``, which recognizes all of it but what was concealed.

        Args:
            text: of a template that was filled with concealed texts.
        """
        text = self.renamed(text)
        for at, name in self.names.items():
            text = text.replace(_typed(at), name)
        return text

    def _replaced(self, text: str, stand_in: Callable[[int], str]) -> str:
        for at, name in sorted(self.names.items(), key=lambda item: -len(item[1])):
            text = text.replace(name, stand_in(at))
        return text

    @cached_property
    def literal(self) -> Tokenizer:
        """A copy of the tokenizer that treats the text of control tokens as text; otherwise its ids are the same."""
        new = {name: _unwritten(at) for at, name in self.names.items()}
        state: dict[str, Any] = json.loads(self.tokenizer.backend_tokenizer.to_str())
        state["padding"] = state["truncation"] = None
        for token in state["added_tokens"]:
            if token["content"] in new:
                # Matched before normalization, which may drop or change the unusual name.
                token.update(content=new[token["content"]], normalized=False)
        model = state["model"]
        vocabulary = model["vocab"]
        if isinstance(vocabulary, list):
            model["vocab"] = [[new.get(piece, piece), score] for piece, score in vocabulary]
        else:
            model["vocab"] = {new.get(piece, piece): at for piece, at in vocabulary.items()}
        if model.get("unk_token") in new:
            model["unk_token"] = new[model["unk_token"]]
        if "merges" in model:
            model["merges"] = [merge for merge in model["merges"] if _stays(merge, new)]
        tokenizer = Tokenizer.from_str(json.dumps(state))
        tokenizer.encode_special_tokens = False
        return tokenizer


def _unwritten(at: int) -> str:
    """Return a name made of noncharacters, which Unicode keeps out of text."""
    return f"\ufdd0{at}\ufdd1"


def _typed(at: int) -> str:
    """Return the stand-in of a control token that somebody typed."""
    return f"\ufdd2{at}\ufdd3"


def _stays(merge: str | Sequence[str], renamed: Mapping[str, str]) -> bool:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first not in renamed and second not in renamed and first + second not in renamed
