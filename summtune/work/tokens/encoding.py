"""Turns dialogues into token ids of prompts that fit, by cutting the dialogue and never the instruction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from transformers import PreTrainedTokenizerBase

from summtune.base.errors import DataError
from summtune.prompts.templates import render
from summtune.runs.records import Dialogue
from summtune.work.tokens.control_tokens import ControlTokens

Offsets: TypeAlias = Sequence[tuple[int, int]]

_LEAST_DIALOGUE_TOKENS = 8


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the encoder reads it.

    Args:
        ids: token ids, at most sequence_len, the end-of-sequence token last.
        truncated: whether the dialogue did not fit; it is cut unless such dialogues are dropped.
        typed: whether the dialogue or its exemplars contain control tokens, which were encoded as text.
    """

    ids: Sequence[int]
    truncated: bool
    typed: bool = False


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts for one template and length.

    Args:
        tokenizer: that supports character offsets.
        template: text with ``{dialogue}``.
        sequence_len: most tokens of a prompt.
        long_dialogues: cut the end or the start of a dialogue that does not fit, or only mark it for dropping.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    sequence_len: int
    long_dialogues: Literal["truncate_end", "truncate_start", "drop"] = "truncate_end"

    def encode(
        self, dialogues: Sequence[Dialogue], exemplars: Sequence[Sequence[Dialogue]] | None = None
    ) -> list[EncodedPrompt]:
        """Return one prompt per dialogue.

        Args:
            dialogues: to be summarized.
            exemplars: the solved examples of each dialogue's prompt; none by default.

        Raises:
            DataError: the prompt without its dialogue already exceeds sequence_len.
        """
        shown = exemplars or [()] * len(dialogues)
        texts = [render(self.template, item.dialogue, solved) for item, solved in zip(dialogues, shown, strict=True)]
        encoded: list[list[int]] = self.tokenizer(texts)["input_ids"] if texts else []
        prompts = []
        for ids, text, dialogue, solved in zip(encoded, texts, dialogues, shown, strict=True):
            typed = self._typed(ids, text, 1 + len(solved))
            if typed:
                ids, _ = self._encoded(render(self._template(typed), dialogue.dialogue, solved), typed)
            prompts.append(self._fitted(ids, dialogue, solved, typed))
        return prompts

    def encode_summaries(self, summaries: Sequence[str]) -> list[tuple[list[int], bool]]:
        """Return the ids of each summary, and whether it contains control tokens, which were encoded as text."""
        encoded: list[list[int]] = self.tokenizer(list(summaries))["input_ids"] if summaries else []
        found = []
        for ids, summary in zip(encoded, summaries, strict=True):
            typed = self.control.typed(ids, summary, {})
            found.append((self._encoded(summary, typed)[0] if typed else ids, typed))
        return found

    def offsets_of(self, text: str, typed: bool) -> tuple[list[int], Offsets]:
        """Return the ids of a text, without added special tokens, and the character span of each."""
        return self._encoded(text, typed, added=False)

    @cached_property
    def control(self) -> ControlTokens:
        """The tokenizer's control tokens."""
        return ControlTokens(self.tokenizer)

    @cached_property
    def _of_template(self) -> Counter[int]:
        return self.control.of_template(self.tokenizer(render(self.template, "x", ()))["input_ids"])

    def _typed(self, ids: list[int], text: str, times: int) -> bool:
        """Return whether ``text``, with the template ``times`` times, has control tokens from outside the template."""
        expected = {at: times * count for at, count in self._of_template.items()}
        return self.control.typed(ids, text, expected, times * self._unknown_in_template)

    @cached_property
    def _unknown_in_template(self) -> int:
        return self.control.count_unknown(self.template)

    def _template(self, typed: bool) -> str:
        return self.control.renamed(self.template) if typed else self.template

    def _encoded(self, text: str, typed: bool, added: bool = True) -> tuple[list[int], Offsets]:
        if typed:
            literal = self.control.literal.encode(text, add_special_tokens=added)
            return literal.ids, literal.offsets
        encoded = self.tokenizer(text, add_special_tokens=added, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def _fitted(self, ids: list[int], dialogue: Dialogue, exemplars: Sequence[Dialogue], typed: bool) -> EncodedPrompt:
        excess = len(ids) - self.sequence_len
        if excess <= 0:
            return EncodedPrompt(ids, False, typed)
        if self.long_dialogues == "drop":
            return EncodedPrompt(ids, True, typed)
        return self._cut(dialogue, exemplars, excess, typed)

    def _cut(self, dialogue: Dialogue, exemplars: Sequence[Dialogue], excess: int, typed: bool) -> EncodedPrompt:
        """Cut the dialogue at token boundaries until the prompt fits.

        A text's tokens differ from those of its parts, so after the first cut the prompt may still be a few tokens too
        long.
        """
        template = self._template(typed)
        _, offsets = self._encoded(dialogue.dialogue, typed, added=False)
        keep = len(offsets) - excess
        while keep >= _LEAST_DIALOGUE_TOKENS:
            from_start = self.long_dialogues == "truncate_start"
            text = dialogue.dialogue[offsets[-keep][0] :] if from_start else dialogue.dialogue[: offsets[keep - 1][1]]
            ids, _ = self._encoded(render(template, text, exemplars), typed)
            if len(ids) <= self.sequence_len:
                return EncodedPrompt(ids, True, typed)
            keep -= len(ids) - self.sequence_len
        bare = len(self._encoded(render(template, "", exemplars), typed)[0])
        raise DataError(
            f"the prompt of dialogue {dialogue.id!r} has {bare} tokens without the dialogue itself "
            f"({len(exemplars)} exemplars; got sequence_len: {self.sequence_len}); "
            "raise sequence_len or show fewer exemplars"
        )
