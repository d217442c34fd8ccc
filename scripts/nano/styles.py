"""Write the summaries of a scene in many styles, which the miniature model has to infer from its exemplars."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from summtune.data.builtin.families import KINDS, WORDINGS
from summtune.data.builtin.scenes import Scene, capitalize

Persons = Literal["tags", "roles", "letters", "names"]

PERSONS: tuple[Persons, ...] = ("tags", "roles", "letters", "names")
LEADS = ("In short: ", "Note: ", "What happened: ", "To sum up: ")
TITLES = ("Topic: {topic}.", "They talk about {topic}.", "{topic}.")


@dataclass(frozen=True)
class Style:
    """One way to summarize.

    Args:
        persons: how the two are named.
        past: past tense instead of present.
        outcome_first: whether the outcome precedes the matter.
        lead: beginning of every summary.
        salient: the kinds of facts (``KINDS``) that summaries state, with ``outcome`` if they state the outcome.
        vague: whether the other kinds are hinted at instead of left out.
        title: if set, a summary consists only of this.
    """

    persons: Persons
    past: bool
    outcome_first: bool
    lead: str
    salient: frozenset[str]
    vague: bool
    title: str

    def summary(self, scene: Scene, rng: Random) -> str:
        """Return the scene's summary in this style, in one of its wordings.

        The persons' names are known only if they introduce themselves.
        """
        wording = rng.randrange(WORDINGS)
        parts = [scene.family.wordings[wording]]
        if "outcome" in self.salient:
            parts.append(scene.outcome.wordings[wording])
        if self.outcome_first:
            parts.reverse()
        template = self.title.replace("{topic}", scene.family.topic) or " ".join(parts)
        persons = _persons(self.persons, scene)
        return self.lead + capitalize(
            scene.render(template, *persons, past=self.past, salient=self.salient, vague=self.vague)
        )


# The style of builtin/dialogues: one of thousands, without a higher probability.
BUILTIN = Style(
    "tags", past=False, outcome_first=False, lead="", salient=frozenset((*KINDS, "outcome")), vague=False, title=""
)


def draw_style(rng: Random, told: tuple[float, ...], vague: float = 0.0, outcome: float = 0.0) -> Style:
    """Return a random style.

    Args:
        rng: source of randomness.
        told: probabilities that a kind of facts is stated, one of which is chosen for the style.
        vague: the share of styles that hint at the other kinds of facts.
        outcome: the least probability that the outcome is stated.
    """
    chance = rng.choice(told)
    chances = dict.fromkeys(KINDS, chance) | {"outcome": max(chance, outcome)}
    return Style(
        persons=rng.choice(PERSONS),
        past=rng.random() < 0.5,
        outcome_first=rng.random() < 0.5,
        lead=rng.choice(LEADS) if rng.random() < 0.4 else "",
        salient=frozenset(kind for kind in chances if rng.random() < chances[kind]),
        title=rng.choice(TITLES) if rng.random() < 0.1 else "",
        vague=vague > 0 and rng.random() < vague,
    )


def _persons(persons: Persons, scene: Scene) -> tuple[str, str]:
    if persons == "names":
        assert scene.names is not None, "the scene was drawn for a style that needs names"
        return scene.names
    if persons == "letters":
        return ("A", "B") if scene.turns[0][0] == "A" else ("B", "A")
    return scene.persons() if persons == "tags" else scene.family.roles
