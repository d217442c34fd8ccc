"""Turns dialogues into token ids: prompts that fit, with the dialogue cut and never the instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        truncated: whether the dialogue was cut.
    """

    ids: list[int]
    truncated: bool


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts for one template and length.

    Args:
        tokenizer: with character offsets.
        template: text with ``{dialogue}``.
        sequence_len: most tokens of a prompt.
        cut_start: cut the start of a dialogue that does not fit, instead of its end.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    sequence_len: int
    cut_start: bool = False

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
        return [
            EncodedPrompt(ids, truncated=False)
            if len(ids) <= self.sequence_len
            else self._cut(dialogue, solved, len(ids) - self.sequence_len)
            for ids, dialogue, solved in zip(encoded, dialogues, shown, strict=True)
        ]

    def _cut(self, dialogue: Dialogue, exemplars: Sequence[Dialogue], excess: int) -> EncodedPrompt:
        """Cut the dialogue at token borders until the prompt fits.

        The tokens of a text are not those of its parts, so the first cut can be a few tokens short and is repeated.
        """
        offsets = self.tokenizer(dialogue.dialogue, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        keep = len(offsets) - excess
        while keep >= _LEAST_DIALOGUE_TOKENS:
            text = (
                dialogue.dialogue[offsets[-keep][0] :] if self.cut_start else dialogue.dialogue[: offsets[keep - 1][1]]
            )
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
