"""Proves, before the first step of a training, that its examples teach what is asked of the model later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from transformers import PreTrainedTokenizerBase
from typing_extensions import assert_never

from summtune.base.errors import DataError
from summtune.base.hashing import hash_of
from summtune.plan.plan import TrainPlan
from summtune.prompts.formats import ChatFormat, PromptFormat, TextFormat
from summtune.runs.events import Events
from summtune.runs.run_directory import DATA_FILES
from summtune.runs.supervision import Check, EndToken, SupervisedRole, Supervision
from summtune.work.models.family import ModelFamily
from summtune.work.models.loading import load_tokenizer
from summtune.work.supervision.batches import Batching, Collate, batch_violations
from summtune.work.supervision.checks import Lesson, completion_lengths, encoded_again, prompt_lengths, violations
from summtune.work.supervision.messages import violation_message
from summtune.work.tokens.examples import read_examples
from summtune.work.tokens.planned import asking_encoder_of, encoder_of
from summtune.work.tokens.tokens import Tokens


@dataclass(frozen=True)
class Proof:
    """The examples of a training, and what they are checked against.

    Args:
        examples: the tokens of each role.
        run_dir: with their dialogues.
        lesson: to check against.
    """

    examples: Mapping[str, Tokens]
    run_dir: Path
    lesson: Lesson

    @classmethod
    def of(
        cls, plan: TrainPlan, run_dir: Path, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], events: Events
    ) -> Proof:
        """Return the proof of a planned training, whose examples are tokenized unless the cache has their tokens.

        Args:
            plan: of the training.
            run_dir: with its data.
            tokenizer: of the model.
            ends: the ids that end a generated summary.
            events: to the waiting command.

        Raises:
            DataError: no dialogue of a role is left.
        """
        encoder = encoder_of(plan, tokenizer)
        generating = asking_encoder_of(plan, load_tokenizer(Path(plan.model.folder)))
        examples = read_examples(plan, run_dir, encoder, tuple(ends), events)
        return cls(examples, run_dir, Lesson(encoder, generating, tuple(ends), plan.recipe.target_len))

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the tokens of the examples: a sentence for each role and check."""
        return tuple(
            violation_message(role, tokens, self._data(role), self.lesson, found)
            for role, tokens in self.examples.items()
            for found in violations(tokens, self._data(role), self.lesson)
        )

    def problems_of_batches(self, family: ModelFamily, collate: Collate) -> tuple[str, ...]:
        """Return what is wrong with the batches that are made of the examples, likewise.

        Args:
            family: of the model.
            collate: makes a batch of examples.
        """
        batching = Batching(family.example, collate, self.lesson.encoder.continued)
        return tuple(
            violation_message(role, tokens, self._data(role), self.lesson, found)
            for role, tokens in self.examples.items()
            for found in batch_violations(tokens, batching)
        )

    def check(self) -> Proof:
        """Return the proof, unless the tokens of some examples teach something else.

        Raises:
            DataError: with a line for each role and check.
        """
        if self.problems:
            raise DataError("\n".join(self.problems))
        return self

    def check_batches(self, family: ModelFamily, collate: Collate) -> Supervision:
        """Return what to record, unless the batches of some examples score something else than their completions.

        Args:
            family: of the model.
            collate: makes a batch of examples.

        Raises:
            DataError: with a line for each role.
        """
        if found := self.problems_of_batches(family, collate):
            raise DataError("\n".join(found))
        return self.supervision

    @property
    def supervision(self) -> Supervision:
        """What ``supervision.json`` holds once nothing is wrong."""
        form, tokenizer = self.lesson.encoder.form, self.lesson.encoder.tokenizer
        chat = isinstance(form, ChatFormat)
        template, template_sha256 = template_of(form)
        return Supervision(
            template=template,
            template_sha256=template_sha256,
            ends=tuple(EndToken(id=one, text=str(tokenizer.convert_ids_to_tokens(one))) for one in self.lesson.ends),
            checks=tuple(check for check in get_args(Check) if chat or check not in _OF_CHATS),
            roles={role: self._role(tokens) for role, tokens in self.examples.items()},
        )

    def _role(self, tokens: Tokens) -> SupervisedRole:
        trained = completion_lengths(tokens)
        return SupervisedRole(
            examples=len(tokens.pairs),
            trained_tokens=int(trained.sum()),
            longest_prompt=int(prompt_lengths(tokens).max()),
            longest_completion=int(trained.max()),
            cut_dialogues=tokens.truncated,
            prompts_encoded_again=len(encoded_again(tokens, self.lesson)),
        )

    def _data(self, role: str) -> Path:
        return self.run_dir / DATA_FILES[role]


_OF_CHATS: frozenset[Check] = frozenset(("stable_template", "summary_unchanged", "nothing_added"))
"""What only a chat template can do wrong."""


def template_of(form: PromptFormat) -> tuple[str, str]:
    """Return the name of what writes the prompts, and the SHA-256 of its text."""
    match form:
        case ChatFormat(chat_template=text, source=source):
            return source, hash_of(text)
        case TextFormat(template=text):
            return "plain text", hash_of(text)
        case _:
            assert_never(form)
