"""Composes a conversation of a scenario family: its turns, facts and summaries."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from random import Random

from summtune.data.builtin.families import KINDS, VAGUE, Choices, Family, Outcome, Role, families, pools

MIN_TURNS, MAX_TURNS = 4, 16
Beats = list[tuple[Role, str]]

_VERB = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_SYLLABLE = re.compile(r"[^aeiouy]*[aeiouy]+(?:[^aeiouy]+$)?")
_SLOT = re.compile(r"\{[a-z_]+\}")
_FACT = re.compile(r"<(\w+):((?:\[[^\]]*\]|[^<>|\[])*)(?:\|([^<>]*))?>")


@dataclass(frozen=True)
class Scene:
    """A conversation with its facts.

    Args:
        family: the scenario.
        outcome: how it ends.
        turns: alternating ``("A", text)`` and ``("B", text)``.
        values: the facts by slot name.
        wrong: a value that a speaker said and corrected, or None.
        names: the names with which A and B introduce themselves; None if they do not.
    """

    family: Family
    outcome: Outcome
    turns: tuple[tuple[Role, str], ...]
    values: dict[str, str]
    wrong: str | None
    names: tuple[str, str] | None

    def persons(self) -> tuple[str, str]:
        """Return A's and B's tags: the first speaker is ``#Person1#``."""
        return ("#Person1#", "#Person2#") if self.turns[0][0] == "A" else ("#Person2#", "#Person1#")

    def dialogue(self) -> str:
        """Return the turns, one per line, in DialogSum's format."""
        tags = dict(zip("AB", self.persons(), strict=True))
        return "\n".join(f"{tags[role]}: {text}" for role, text in self.turns)

    def render(
        self,
        template: str,
        person_a: str,
        person_b: str,
        past: bool = False,
        salient: Collection[str] = KINDS,
        vague: bool = False,
    ) -> str:
        """Return a wording with its facts, persons and tense filled in, sentences capitalized.

        Args:
            template: a wording of the family or its outcome.
            person_a: the name of A.
            person_b: the name of B.
            past: whether to use past tense instead of present.
            salient: the kinds of facts to state.
            vague: whether to hint at the other kinds ("for some money") instead of leaving them out.
        """

        def stated(found: re.Match[str]) -> str:
            if found[1] in salient:
                return found[2]
            return _SLOT.sub(VAGUE[found[1]], found[2]) if vague else found[3] or ""

        text = _FACT.sub(stated, template)
        text = _VERB.sub(r"\2" if past else r"\1", text)
        return capitalize(text.format(A=person_a, B=person_b, **self.values))

    def summary(self, wording: int) -> str:
        """Return the summary in DialogSum's style: persons by tag, present tense, the topic and then the outcome."""
        return self.render(f"{self.family.wordings[wording]} {self.outcome.wordings[wording]}", *self.persons())


def capitalize(text: str) -> str:
    """Return ``text`` with an upper-case letter at the start of every sentence."""
    return re.sub(r"(^|[.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)


def draw_scene(rng: Random, held_out: bool = False, invented: float = 0.0, named: float = 0.25) -> Scene:
    """Return a random scene.

    Args:
        rng: the random generator; the same state gives the same scene on every Python.
        held_out: whether to use all scenarios, including held-out ones, names and things from the held-out lists, and
            held-out phrasings for the opening request (and every other phrase with probability one half).
        invented: probability that a scene's names and things are made-up words (which teach a model to copy).
        named: probability that the two introduce themselves.
    """
    family = rng.choice([each for each in families() if held_out or not each.held_out])
    outcome = rng.choice(family.outcomes)
    invent = rng.random() < invented
    values: dict[str, str] = {}
    for name, source in family.slots.items():
        values[name] = _draw_value(rng, source, values, held_out, invent)
    wrong = _draw_value(rng, family.slots[family.correct], values, held_out, invent) if rng.random() < 0.3 else None
    extra = {
        f"other_{kind}": _draw_value(rng, f"@{kind}", values, held_out, False)
        for kind in ("city", "day", "name", "time", "money")
    }
    extra["name_a"] = _draw_value(rng, "@name", values | extra, held_out, invent)
    extra["name_b"] = _draw_value(rng, "@name", values | extra, held_out, invent)
    words = values | extra

    lead: list[Beats] = []
    if rng.random() < 0.5:
        lead.append([("B", _pick(rng, family.opener, held_out).format(**words))])
    introduced = rng.random() < named
    if introduced:
        lead.append(_pair(_pick(rng, pools()["greeting"], held_out), words))
    core = _core(rng, family, outcome, words, wrong, held_out)
    turns = _with_chatter(rng, family, (lead, core), words, held_out)
    names = (extra["name_a"], extra["name_b"]) if introduced else None
    return Scene(family, outcome, tuple((role, capitalize(text)) for role, text in turns), values, wrong, names)


def invented_word(rng: Random) -> str:
    """Return a pronounceable, unlisted word: two or three syllables of the train split's names and things."""
    starts, others = _syllables()
    while True:
        word = rng.choice(starts) + "".join(rng.choice(others) for _ in range(rng.choice((1, 1, 2))))
        if 3 <= len(word) <= 12 and word not in listed_words():
            return word


@cache
def listed_words(held_out: bool | None = None) -> frozenset[str]:
    """Return the words of all names and things, in lower case.

    Args:
        held_out: True for those of the test split only, False for those of every split; None for both.
    """
    sources = [pools()["name"], pools()["city"]]
    for family in families():
        choices = [source for source in family.slots.values() if isinstance(source, Choices)]
        sources += [Choices((), one.common) for one in choices] if family.held_out else choices
    common = {word for source in sources for value in source.common for word in _words(value)}
    apart = {word for source in sources for value in source.held_out for word in _words(value)} - common
    return frozenset(common | apart if held_out is None else apart if held_out else common)


@cache
def _syllables() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the first and the other syllables of common names and things; a syllable starts after a vowel."""
    parts = [_SYLLABLE.findall(word) for word in listed_words(held_out=False)]
    return tuple(sorted({p[0] for p in parts if p})), tuple(sorted({part for p in parts for part in p[1:]}))


def _words(value: str) -> list[str]:
    return re.findall(r"[a-z]+", value.lower())


def _core(
    rng: Random, family: Family, outcome: Outcome, words: dict[str, str], wrong: str | None, held_out: bool
) -> list[Beats]:
    """Return the essential turns, with the slip of the tongue if there is one."""
    core: list[Beats] = []
    for place, (role, choices) in enumerate([*family.beats, *outcome.beats]):
        phrase = _pick(rng, choices, held_out, surely=place == 0)
        if wrong is None or f"{{{family.correct}}}" not in phrase:
            core.append([(role, phrase.format(**words))])
            continue
        said = phrase.format(**(words | {family.correct: wrong}))
        repair = {"wrong": wrong, "right": words[family.correct]}
        wrong = None
        if rng.random() < 0.5:
            core.append([(role, f"{said} {_pick(rng, pools()['slip'], held_out).format(**repair)}")])
        else:
            other: Role = "B" if role == "A" else "A"
            core.append([(role, said), *_pair(_pick(rng, pools()["correction"], held_out), repair, first=other)])
    return core


def _with_chatter(
    rng: Random, family: Family, parts: tuple[list[Beats], list[Beats]], words: dict[str, str], held_out: bool
) -> Beats:
    """Return the turns: the lead and the core with small talk, asides and a farewell added, each at most once."""
    lead, core = parts
    tail: list[Beats] = []
    asides = list(family.asides)
    chats = sorted({_pick(rng, pools()["talk"], held_out) for _ in range(4)})
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 5))):
        where = rng.random()
        if where < 0.5 and asides:
            # B asks it before one of B's own turns, so that no question of B stays unanswered.
            place = rng.choice([i for i, block in enumerate(core) if block[0][0] == "B"])
            core.insert(place, _pair(asides.pop(rng.randrange(len(asides))), words, first="B"))
        elif chats:
            (lead if where < 0.8 else tail).append(_pair(chats.pop(rng.randrange(len(chats))), words))
    if rng.random() < 0.4:
        tail.append(_pair(_pick(rng, pools()["goodbye"], held_out), words))
    # Too long for the data set: remove the chatter at the end first, then that at the start.
    while len(turns := _merge([beat for block in (*lead, *core, *tail) for beat in block])) > MAX_TURNS:
        (tail or lead).pop()
    assert len(turns) >= MIN_TURNS, f"{family.name} made {len(turns)} turns"
    return turns


def _merge(beats: Beats) -> Beats:
    turns: Beats = []
    for role, text in beats:
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]} {text}")
        else:
            turns.append((role, text))
    return turns


def _pair(phrase: str, words: dict[str, str], first: Role = "A") -> Beats:
    other: Role = "B" if first == "A" else "A"
    parts = phrase.format(**words).split(" / ")
    return [(first if place % 2 == 0 else other, part) for place, part in enumerate(parts)]


def _pick(rng: Random, choices: Choices, held_out: bool, surely: bool = False) -> str:
    use_held_out = held_out and choices.held_out and (surely or rng.random() < 0.5)
    return rng.choice(choices.held_out if use_held_out else choices.common)


def _draw_value(rng: Random, source: Choices | str, taken: dict[str, str], held_out: bool, invent: bool) -> str:
    """Return a value that no other slot has."""
    while True:
        if isinstance(source, str) and source[1:] in _NUMBERS:
            value = _NUMBERS[source[1:]](rng)
        else:
            choices = pools()[source[1:]] if isinstance(source, str) else source
            value = rng.choice(choices.held_out if held_out and choices.held_out else choices.common)
            if invent and source != "@day":
                value = _disguise(rng, value)
        if value not in taken.values():
            return value


def _disguise(rng: Random, value: str) -> str:
    """Return ``value`` with its last word made up: "the blue door" becomes "the blue tarvo"."""
    head, _, last = value.rpartition(" ")
    word = invented_word(rng)
    return f"{head} {word.title() if last[0].isupper() else word}".strip()


_NUMBERS = {
    "time": lambda rng: f"{rng.randrange(1, 13)}:{rng.choice(('00', '15', '30', '45'))}",
    "money": lambda rng: f"{rng.randrange(60, 200)} dollars",
    "offer": lambda rng: f"{rng.randrange(15, 60)} dollars",
    "rent": lambda rng: f"{rng.randrange(30, 90)}0 dollars",
    "people": lambda rng: f"{rng.randrange(2, 10)} people",
    "number": lambda rng: f"{rng.choice('BCDFGHKLMNPRST')}{rng.randrange(100, 1000)}",
}
