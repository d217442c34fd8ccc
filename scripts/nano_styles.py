"""Write the summaries of a scene in many manners: what the miniature model has to read off its exemplars."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from summtune.dialogue_generator.families import WORDINGS
from summtune.dialogue_generator.scenes import Scene, capitalize

Form = Literal["both", "reversed", "gist", "outcome", "topic", "note"]
Persons = Literal["tags", "roles", "letters", "speakers", "names", "somebody"]

LEADS = ("", "", "", "In short: ", "Note: ", "What happened: ", "To sum up: ")
TOPICS = ("The conversation is about {topic}.", "They talk about {topic}.", "Topic: {topic}.", "{topic}.")


@dataclass(frozen=True)
class Style:
    """One manner of summarizing.

    Args:
        form: which parts of the summary are told, in which order.
        persons: how the two are called.
        past: past tense instead of present.
        lead: what every summary begins with.
        wording: which of the scene's wordings, None: another one every time.
        topic: how a topic is announced, for the forms that name one.
    """

    form: Form
    persons: Persons
    past: bool
    lead: str
    wording: int | None
    topic: str

    def summary(self, scene: Scene, rng: Random) -> str:
        """Return the scene's summary in this manner."""
        person_a, person_b = _persons(self.persons, scene)
        wording = rng.randrange(WORDINGS) if self.wording is None else self.wording
        gist, outcome = scene.family.wordings[wording], scene.outcome.wordings[wording]
        topic = self.topic.replace("{topic}", scene.family.topic)
        template = {
            "both": f"{gist} {outcome}",
            "reversed": f"{outcome} {gist}",
            "gist": gist,
            "outcome": f"{topic} {outcome}",
            "topic": topic,
            "note": f"{scene.family.topic}: {scene.outcome.name}",
        }[self.form]
        return self.lead + capitalize(scene.render(template, person_a, person_b, past=self.past))


# The manner of builtin/dialogues: shown by exemplars, never asked of a prompt without any.
BUILTIN = Style("both", "tags", past=False, lead="", wording=None, topic="")


def draw_style(rng: Random, shots: int) -> Style:
    """Return a random style for an episode with so many exemplars."""
    if shots and rng.random() < 0.3:
        return BUILTIN
    persons: tuple[Persons, ...] = ("roles", "roles", "letters", "speakers", "names", "somebody")
    forms: tuple[Form, ...] = ("both", "reversed", "gist", "outcome", "topic", "topic", "note")
    return Style(
        form=rng.choice(forms),
        # Without exemplars nobody is called by tag, so that the tags are something to be learnt from data.
        persons=rng.choice((*persons, "tags", "tags") if shots else persons),
        past=rng.random() < 0.5,
        lead=rng.choice(LEADS),
        wording=rng.randrange(WORDINGS),
        topic=rng.choice(TOPICS),
    )


def _persons(persons: Persons, scene: Scene) -> tuple[str, str]:
    if persons == "names" and scene.names:
        return scene.names
    a_speaks_first = scene.turns[0][0] == "A"
    if persons == "letters":
        return ("A", "B") if a_speaks_first else ("B", "A")
    if persons == "speakers":
        return ("speaker 1", "speaker 2") if a_speaks_first else ("speaker 2", "speaker 1")
    if persons == "somebody":
        return "somebody", "the other person"
    return scene.persons() if persons == "tags" else scene.family.roles
