"""Make the prompts and targets of the miniature model's pretraining."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from scripts.nano.styles import draw_style
from summtune.data.builtin.scenes import MAX_TURNS, Scene, draw_scene
from summtune.prompts.templates import TEMPLATES, render
from summtune.runs.records import Dialogue

# summtune's default template; the bundled model is good only with this one.
TEMPLATE = TEMPLATES["summarize"]
CHANGED_WORDS = 0.18  # of a garbled scene
INVENTED = 0.6  # the share of scenes with made-up names and things: a summary rests on copying what was never seen


@dataclass(frozen=True)
class Mixture:
    """The distribution of a stage's prompts.

    Args:
        shots: the probabilities of 0, 1, ... exemplars.
        max_turns: for each number of exemplars, the most turns of a dialogue, from 6: with names said and a matter
            settled, hardly any has fewer. One of several dialogues may have any number.
        garbled: the share of scenes with other words around the facts.
        told: the chances that a style tells a kind of facts, one of which holds for an episode.
        vague: the share of styles that hint at the other kinds of facts instead of leaving them out.
        outcome: the least chance that a style tells the outcome.
        abridged: the share of episodes whose exemplars' dialogues break off after two turns: what they show of the
            style is in their summaries.
    """

    shots: tuple[float, ...]
    max_turns: tuple[int, ...]
    garbled: float = 0.0
    told: tuple[float, ...] = (0.4,)
    vague: float = 0.0
    outcome: float = 0.0
    abridged: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no scene of some styles would be short enough for."""
        assert min(self.max_turns) >= 6, f"too few turns for some styles (got {self.max_turns})"


def episodes(rng: Random, mixture: Mixture) -> Iterator[tuple[str, str]]:
    """Yield prompts with their targets endlessly, each in a new style that its exemplars show."""
    while True:
        count = rng.choices(range(len(mixture.shots)), mixture.shots)[0]
        style = draw_style(rng, mixture.told, mixture.vague, mixture.outcome)
        turns = [mixture.max_turns[count]] * (count + 1)
        if count:
            turns[rng.randrange(count + 1)] = MAX_TURNS
        scenes = [_scene(rng, most, style.persons == "names", mixture.garbled) for most in turns]
        kept = 2 if mixture.abridged > 0 and rng.random() < mixture.abridged else MAX_TURNS
        shown = [
            Dialogue(str(n), replace(each, turns=each.turns[:kept]).dialogue(), (style.summary(each, rng),))
            for n, each in enumerate(scenes[:-1])
        ]
        yield render(TEMPLATE, scenes[-1].dialogue(), shown), style.summary(scenes[-1], rng)


def copies(rng: Random, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield random words to be repeated: everything else depends on attention that finds the next piece.

    They are drawn evenly, so that only the prompt determines which one comes next.
    """
    while True:
        text = " ".join(rng.choice(words) for _ in range(rng.randrange(5, 12)))
        yield text, text


def _scene(rng: Random, max_turns: int, named: bool, garbled: float) -> Scene:
    while True:
        scene = draw_scene(rng, invented=INVENTED, named=1.0 if named else 0.25)
        if len(scene.turns) <= max_turns:
            return _garbled(rng, scene) if garbled and rng.random() < garbled else scene


def _garbled(rng: Random, scene: Scene) -> Scene:
    """Return the scene with words around the facts omitted, repeated or replaced by others of the same scene.

    There are few phrasings to learn from, and the test split has others: a model that relies on every word would
    understand none of them.
    """
    facts = {
        word for value in (*scene.values.values(), scene.wrong or "", *(scene.names or ())) for word in _words(value)
    }
    others = [
        word for _, text in scene.turns for word in text.split() if _words(word) and not facts & set(_words(word))
    ]
    turns = []
    for role, text in scene.turns:
        words: list[str] = []
        for word in text.split():
            what = rng.random()
            if what > CHANGED_WORDS or facts & set(_words(word)) or any(map(str.isdigit, word)):
                words.append(word)
            elif what < CHANGED_WORDS / 2:
                words.append(rng.choice(others))
            elif what < 0.7 * CHANGED_WORDS:
                words += [word, rng.choice(others)]
        turns.append((role, " ".join(words) or text))
    return replace(scene, turns=tuple(turns))


def _words(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())
