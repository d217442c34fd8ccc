"""Turns dialogues into token ids: prompts that fit, with the dialogue cut and never the instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from summtune.errors import DataError
from summtune.prompts import render
from summtune.records import Dialogue

_LEAST_DIALOGUE_TOKENS = 8


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the encoder reads it.

    Args:
        ids: token ids, at most sequence_len, the end-of-sequence token last.
        truncated: whether the dialogue did not fit; it is cut, unless dialogues that do not fit are dropped.
    """

    ids: Sequence[int]
    truncated: bool


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts for one template and length.

    Args:
        tokenizer: with character offsets.
        template: text with ``{dialogue}``.
        sequence_len: most tokens of a prompt.
        long_dialogues: cut the end or the start of a dialogue that does not fit, or only mark it, to be dropped.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    sequence_len: int
    long_dialogues: Literal["truncate_end", "truncate_start", "drop"] = "truncate_end"

    def encode(
        self, dialogues: Sequence[Dialogue], exemplars: Sequence[Sequence[Dialogue]] | None = None
    ) -> list[EncodedPrompt]:
        """Return one prompt a dialogue.

        Args:
            dialogues: what is summarized.
            exemplars: the solved examples of each dialogue's prompt; none by default.

        Raises:
            DataError: the prompt without its dialogue already exceeds sequence_len.
        """
        shown = exemplars or [()] * len(dialogues)
        texts = [render(self.template, item.dialogue, solved) for item, solved in zip(dialogues, shown, strict=True)]
        encoded: list[list[int]] = self.tokenizer(texts)["input_ids"] if texts else []
        return [self._fitted(*prompt) for prompt in zip(encoded, dialogues, shown, strict=True)]

    def _fitted(self, ids: list[int], dialogue: Dialogue, exemplars: Sequence[Dialogue]) -> EncodedPrompt:
        excess = len(ids) - self.sequence_len
        if excess <= 0:
            return EncodedPrompt(ids, truncated=False)
        if self.long_dialogues == "drop":
            return EncodedPrompt(ids, truncated=True)
        return self._cut(dialogue, exemplars, excess)

    def _cut(self, dialogue: Dialogue, exemplars: Sequence[Dialogue], excess: int) -> EncodedPrompt:
        """Cut the dialogue at token borders until the prompt fits.

        The tokens of a text are not those of its parts, so the first cut can be a few tokens short and is repeated.
        """
        offsets = self.tokenizer(dialogue.dialogue, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        keep = len(offsets) - excess
        while keep >= _LEAST_DIALOGUE_TOKENS:
            from_start = self.long_dialogues == "truncate_start"
            text = dialogue.dialogue[offsets[-keep][0] :] if from_start else dialogue.dialogue[: offsets[keep - 1][1]]
            ids: list[int] = self.tokenizer(render(self.template, text, exemplars))["input_ids"]
            if len(ids) <= self.sequence_len:
                return EncodedPrompt(ids, truncated=True)
            keep -= len(ids) - self.sequence_len
        bare = len(self.tokenizer(render(self.template, "", exemplars))["input_ids"])
        raise DataError(
            f"the prompt of dialogue {dialogue.id!r} takes {bare} tokens before the dialogue itself "
            f"({len(exemplars)} exemplars; got sequence_len: {self.sequence_len}); "
            "raise sequence_len or show fewer exemplars"
        )
