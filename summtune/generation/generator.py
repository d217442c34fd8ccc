"""The interface of a generator: one method from prompts to outputs."""

from __future__ import annotations

import collections.abc
from collections.abc import Container, Sequence
from typing import Literal, Protocol, TypeVar

from summtune.base.strict import Count, StrictModel
from summtune.runs.answers import Answer

LocalGeneratorName = Literal["local", "vllm"]
"""What can answer the prompts in worker processes; `summtune.worker` tells them apart."""
GeneratorName = LocalGeneratorName | Literal["endpoint"]
"""The generators that a plan can name."""

P_contra = TypeVar("P_contra", contravariant=True)


class Output(StrictModel):
    """What a generator wrote for one prompt.

    Args:
        text: special tokens removed, and the thought of a reasoning model (`summtune.generation.thinking`).
        prompt_tokens: tokens of the prompt as the model read it; None where a server does not count them.
        new_tokens: tokens generated, the thought and the end-of-sequence token included; None likewise.
        hit_length_cap: whether ``max_new_tokens`` ended it: it has no end-of-sequence token, or one in the last place
            where the model forces it (``forced_eos_token_id`` of BART and Pegasus). Whether the model would have ended
            there by itself is not known.
        thinking: the thought that came before the text; None without one.
        answer: how the server answered; None for a model in this process.
    """

    text: str
    prompt_tokens: Count | None
    new_tokens: Count | None
    hit_length_cap: bool
    thinking: str | None = None
    answer: Answer | None = None


Outputs = collections.abc.Generator[tuple[int, Output], None, None]
"""Indices of prompts and their outputs. Whoever stops early closes it, which ends what is still being generated."""


class Generator(Protocol[P_contra]):
    """A model that answers prompts: in this process, or behind an API.

    The type of a prompt is the generator's: token ids where the model is in this process, a text or chat messages where
    a server tokenizes. It can be written as JSON: `summtune.generation.distinct.key_of` hashes that.
    """

    def generate(self, prompts: Sequence[P_contra], done: Container[int] = ()) -> Outputs:
        """Yield an output and the index of its prompt, each as soon as it is there, in any order.

        A generator batches, sends requests concurrently, or divides the prompts among ranks as it sees fit. On each
        rank it yields that rank's share only.

        Args:
            prompts: distinct, and the same on every rank and whenever a run resumes.
            done: indices of prompts whose outputs are known. A generator skips them, unless another output depends on
                them: prompts of one batch are generated together, so that a resumed run yields what an undisturbed one
                does. An output that is yielded again is ignored.

        Raises:
            StageError: a prompt cannot be answered. What was yielded before is kept.
        """
        ...
