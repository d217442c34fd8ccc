"""Turns dialogues into token ids of prompts that fit, by cutting the dialogue and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from transformers import PreTrainedTokenizerBase
from typing_extensions import assert_never

from summtune.base.errors import DataError
from summtune.prompts.formats import ChatFormat, PromptFormat, TextFormat
from summtune.prompts.rendering import Rendering, rendering_of
from summtune.runs.records import Dialogue
from summtune.work.tokens.control_tokens import ControlTokens

Offsets: TypeAlias = Sequence[tuple[int, int]]

_LEAST_DIALOGUE_TOKENS = 8


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model reads it.

    Args:
        ids: token ids, at most sequence_len; those of an encoder-decoder end with the end-of-sequence token.
        truncated: whether the dialogue did not fit; it is cut unless such dialogues are dropped.
        typed: whether the dialogue or its exemplars contain control tokens, which were encoded as text.
        dialogue: as the prompt shows it; empty for a prompt from the cache.
    """

    ids: Sequence[int]
    truncated: bool
    typed: bool = False
    dialogue: str = ""


class Skeleton(NamedTuple):
    """What a prompt contains besides dialogues and summaries.

    Args:
        control: how often it has each control token.
        unknown: how often it has the text of the unknown token.
    """

    control: Counter[int]
    unknown: int


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts of one format and length.

    Args:
        tokenizer: that supports character offsets.
        form: of the prompts.
        sequence_len: most tokens of a prompt.
        long_dialogues: cut the end or the start of a dialogue that does not fit, or only mark it for dropping.
        continued: whether the summary continues the prompt in one sequence.
    """

    tokenizer: PreTrainedTokenizerBase
    form: PromptFormat
    sequence_len: int
    long_dialogues: Literal["truncate_end", "truncate_start", "drop"] = "truncate_end"
    continued: bool = False

    def encode(
        self, dialogues: Sequence[Dialogue], exemplars: Sequence[Sequence[Dialogue]] | None = None
    ) -> list[EncodedPrompt]:
        """Return one prompt per dialogue.

        Args:
            dialogues: to be summarized.
            exemplars: the solved examples of each dialogue's prompt; none by default.

        Raises:
            DataError: the prompt without its dialogue already exceeds sequence_len.
            ChatTemplateError: the chat template fails.
        """
        shown = exemplars or [()] * len(dialogues)
        texts = [self.rendering.prompt(each.dialogue, solved) for each, solved in zip(dialogues, shown, strict=True)]
        prompts = []
        for (ids, _), text, dialogue, solved in zip(self.encoded_all(texts), texts, dialogues, shown, strict=True):
            skeleton = self.skeleton(len(solved), completed=False)
            typed = self.control.typed(ids, text, skeleton.control, skeleton.unknown)
            if typed:
                ids, _ = self.encoded(self.text(dialogue.dialogue, solved, typed), typed)
            prompts.append(self._fitted(ids, dialogue, solved, typed))
        return prompts

    def encode_summaries(self, summaries: Sequence[str]) -> list[tuple[list[int], bool]]:
        """Return the ids of each summary by itself, and whether it has control tokens, which were encoded as text."""
        encoded: list[list[int]] = self.tokenizer(list(summaries))["input_ids"] if summaries else []
        found = []
        for ids, summary in zip(encoded, summaries, strict=True):
            typed = self.control.typed(ids, summary, self._empty)
            found.append((self._with_offsets(summary, typed, added=True)[0] if typed else ids, typed))
        return found

    def offsets_of(self, text: str, typed: bool) -> tuple[list[int], Offsets]:
        """Return the ids of a text, without added special tokens, and the character span of each."""
        return self._with_offsets(text, typed, added=False)

    def text(self, dialogue: str, exemplars: Sequence[Dialogue], typed: bool, summary: str | None = None) -> str:
        """Return the text of a prompt or, with a summary, of the whole conversation, as `encoded` takes it.

        Args:
            dialogue: as the prompt shows it.
            exemplars: solved examples.
            typed: whether one of these texts has control tokens, which are to be encoded as text.
            summary: of the dialogue.
        """
        rendering = self._literal_rendering if typed else self.rendering
        if typed and rendering.is_chat:
            hidden = self.control.concealed
            dialogue, summary = hidden(dialogue), None if summary is None else hidden(summary)
            exemplars = [
                replace(one, dialogue=hidden(one.dialogue), references=(hidden(one.references[0]),))
                for one in exemplars
            ]
        if summary is None:
            text = rendering.prompt(dialogue, exemplars)
        else:
            text = rendering.completed(dialogue, exemplars, summary)
        return self.control.written(text) if typed and rendering.is_chat else text

    def encoded(self, text: str, typed: bool) -> tuple[list[int], Offsets]:
        """Return the ids of a prompt's text or of a conversation's, and the character span of each."""
        ids, offsets = self._with_offsets(text, typed, added=not self.rendering.is_chat)
        end = len(ids) - self._added_end
        return ids[:end], offsets[:end]

    def encoded_all(self, texts: Sequence[str]) -> list[tuple[list[int], Offsets]]:
        """Return the same for several texts at once, which takes several threads."""
        if not texts:
            return []
        added = not self.rendering.is_chat
        found = self.tokenizer(list(texts), add_special_tokens=added, return_offsets_mapping=True)
        rows = zip(found["input_ids"], found["offset_mapping"], strict=True)
        return [(ids[: len(ids) - self._added_end], spans[: len(spans) - self._added_end]) for ids, spans in rows]

    def skeleton(self, shots: int, completed: bool) -> Skeleton:
        """Return what a prompt with so many exemplars, or a whole conversation, contains besides its texts."""
        key = shots, completed
        if key not in self._skeletons:
            solved = [Dialogue("", "x", ("x",))] * shots
            text = self.text("x", solved, False, "x" if completed else None)
            counted = self.control.counted(self.encoded(text, False)[0])
            self._skeletons[key] = Skeleton(counted, self.control.count_unknown(text))
        return self._skeletons[key]

    @cached_property
    def rendering(self) -> Rendering:
        """What writes the texts of prompts."""
        return rendering_of(self.form)

    @cached_property
    def _literal_rendering(self) -> Rendering:
        """The same for the literal tokenizer; what a chat template writes is only known once it has written it."""
        match self.form:
            case TextFormat(template=template):
                return rendering_of(TextFormat(template=self.control.renamed(template)))
            case ChatFormat():
                return self.rendering
            case _:
                assert_never(self.form)

    @cached_property
    def control(self) -> ControlTokens:
        """The tokenizer's control tokens."""
        return ControlTokens(self.tokenizer)

    @cached_property
    def _skeletons(self) -> dict[tuple[int, bool], Skeleton]:
        return {}

    @cached_property
    def _empty(self) -> Counter[int]:
        return self.control.counted(self.tokenizer("")["input_ids"])

    @cached_property
    def _added_end(self) -> int:
        """How many tokens the tokenizer adds after a text, which must not stand between a prompt and its summary."""
        if not self.continued or self.rendering.is_chat:
            return 0
        bare, added = (self.tokenizer("x", add_special_tokens=one)["input_ids"] for one in (False, True))
        starts = [at for at in range(len(added)) if added[at : at + len(bare)] == bare]
        return len(added) - starts[-1] - len(bare) if starts else 0

    def _with_offsets(self, text: str, typed: bool, added: bool) -> tuple[list[int], Offsets]:
        if typed:
            literal = self.control.literal.encode(text, add_special_tokens=added)
            return literal.ids, literal.offsets
        encoded = self.tokenizer(text, add_special_tokens=added, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def _fitted(self, ids: list[int], dialogue: Dialogue, exemplars: Sequence[Dialogue], typed: bool) -> EncodedPrompt:
        excess = len(ids) - self.sequence_len
        if excess <= 0:
            return EncodedPrompt(ids, False, typed, dialogue.dialogue)
        if self.long_dialogues == "drop":
            return EncodedPrompt(ids, True, typed, dialogue.dialogue)
        return self._cut(dialogue, exemplars, excess, typed)

    def _cut(self, dialogue: Dialogue, exemplars: Sequence[Dialogue], excess: int, typed: bool) -> EncodedPrompt:
        """Cut the dialogue at token boundaries until the prompt fits.

        A text's tokens differ from those of its parts, so after the first cut the prompt may still be a few tokens too
        long.
        """
        _, offsets = self.offsets_of(dialogue.dialogue, typed)
        keep = len(offsets) - excess
        while keep >= _LEAST_DIALOGUE_TOKENS:
            from_start = self.long_dialogues == "truncate_start"
            text = dialogue.dialogue[offsets[-keep][0] :] if from_start else dialogue.dialogue[: offsets[keep - 1][1]]
            ids, _ = self.encoded(self.text(text, exemplars, typed), typed)
            if len(ids) <= self.sequence_len:
                return EncodedPrompt(ids, True, typed, text)
            keep -= len(ids) - self.sequence_len
        bare = len(self.encoded(self.text("", exemplars, typed), typed)[0])
        raise DataError(
            f"the prompt of dialogue {dialogue.id!r} has {bare} tokens without the dialogue itself "
            f"({len(exemplars)} exemplars; got sequence_len: {self.sequence_len}); "
            f"raise sequence_len or {'show fewer exemplars' if exemplars else 'shorten the instruction'}"
        )
