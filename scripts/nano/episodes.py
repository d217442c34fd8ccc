"""Make the prompts and targets of the miniature model's pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from scripts.nano.styles import draw_style
from summtune.dialogue_generator.scenes import Scene, draw_scene
from summtune.prompts import TEMPLATES, render
from summtune.records import Dialogue

# summtune's default template; the shipped model is good with this one alone.
TEMPLATE = TEMPLATES["summarize"]
INVENTED = 0.6  # the share of scenes with made-up names and things: a summary rests on copying what was never seen


def episodes(rng: Random, shots: tuple[float, ...], max_turns: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield prompts with their targets without end, each in a style of its own that its exemplars show.

    Args:
        rng: where the chances come from.
        shots: the probabilities of 0, 1, ... exemplars.
        max_turns: for each number of exemplars, the most turns of a dialogue.
    """
    while True:
        count = rng.choices(range(len(shots)), shots)[0]
        style = draw_style(rng)
        scenes = [_scene(rng, max_turns[count], style.persons == "names") for _ in range(count + 1)]
        shown = [Dialogue(str(n), each.dialogue(), (style.summary(each, rng),)) for n, each in enumerate(scenes[:-1])]
        yield render(TEMPLATE, scenes[-1].dialogue(), shown), style.summary(scenes[-1], rng)


def copies(rng: Random, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield random words that are to be repeated: attention that finds the next piece is what everything rests on.

    They are drawn evenly, so that nothing but the prompt tells which one comes next.
    """
    while True:
        text = " ".join(rng.choice(words) for _ in range(rng.randrange(5, 12)))
        yield text, text


def _scene(rng: Random, max_turns: int, named: bool) -> Scene:
    while True:
        scene = draw_scene(rng, invented=INVENTED, named=1.0 if named else 0.25)
        if len(scene.turns) <= max_turns:
            return scene
