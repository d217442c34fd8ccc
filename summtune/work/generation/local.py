"""The local generator: a transformers model in this process, or one on each rank."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from accelerate.utils import set_seed  # that of transformers comes with the Trainer, which imports peft
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from summtune.generation.batches import batches_of_like_length
from summtune.generation.generator import Outputs
from summtune.generation.resuming import ALONE, World
from summtune.work.generation.decoding import generate


@dataclass(frozen=True)
class LocalGenerator:
    """Generates in batches of like length, which are the same on any number of ranks.

    Args:
        model: on the device that generates (`summtune.work.generation.decoding.place`).
        tokenizer: of the model.
        config: with max_new_tokens set.
        batch_size: prompts of a batch.
        seed: of the run; each batch has its own seed, so samples do not depend on what was generated before.
        world: the ranks that share the batches.
        stops: texts that end a summary.
        reasons: whether the model continues with a thought where a prompt ends with ``<think>``.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    config: GenerationConfig
    batch_size: int
    seed: int
    world: World = ALONE
    stops: Sequence[str] = ()
    reasons: bool = False

    def generate(self, prompts: Sequence[Sequence[int]], done: Container[int] = ()) -> Outputs:
        """Yield the outputs of each of this rank's batches in which one is missing; prompts are token ids."""
        for number, batch in enumerate(batches_of_like_length(prompts, self.batch_size)):
            is_mine = number % self.world.size == self.world.rank
            if is_mine and not all(index in done for index in batch):
                set_seed(self.seed + number)
                ids = [list(prompts[index]) for index in batch]
                outputs = generate(self.model, self.tokenizer, ids, self.config, self.stops, self.reasons)
                yield from zip(batch, outputs, strict=True)
