"""Outputs, and generators that need no model."""

from summtune.base.errors import StageError
from summtune.generation.generator import Output


def output(text="a summary", prompt_tokens=5, new_tokens=3, hit_length_cap=False):
    return Output(text=text, prompt_tokens=prompt_tokens, new_tokens=new_tokens, hit_length_cap=hit_length_cap)


class Shouting:
    """Answers a text in capitals, the last prompt first, and fails at a prompt it does not like.

    Args:
        refused: the prompt it fails at.
    """

    def __init__(self, refused=None):
        self.refused = refused
        self.asked = []

    def generate(self, prompts, done=()):
        for index in reversed(range(len(prompts))):
            if index not in done:
                self.asked.append(prompts[index])
                if prompts[index] == self.refused:
                    raise StageError(f"no answer (got {prompts[index]}); try again")
                yield index, output(prompts[index].upper())


class Paired:
    """Generates pairs of prompts on the rank whose turn it is, a pair also where one of the two is known.

    Args:
        world: the ranks that share the pairs.
    """

    def __init__(self, world):
        self.world = world

    def generate(self, prompts, done=()):
        for number, start in enumerate(range(0, len(prompts), 2)):
            pair = range(start, min(start + 2, len(prompts)))
            if number % self.world.size == self.world.rank and not all(index in done for index in pair):
                yield from ((index, output(f"{prompts[index]} by {self.world.rank}")) for index in pair)
