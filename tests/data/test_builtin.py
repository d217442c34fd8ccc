"""The built-in dialogues: their content, their held-out parts, and that they do not change unnoticed."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tracemalloc
from itertools import islice, pairwise
from random import Random

import pytest

from summtune.base.errors import DataError
from summtune.data.builtin import SPLITS, dialogues, stream
from summtune.data.builtin.families import KINDS, WORDINGS, Choices, families, pools
from summtune.data.builtin.scenes import (
    MAX_TURNS,
    MIN_TURNS,
    capitalize,
    draw_scene,
    invented_word,
    listed_words,
)

# Hashes of the first lines of each split as JSON: a change would alter every published score.
DIGESTS = {
    "train": "c94178a61c44a6d7edc1ec656fc7002549dd9ce5b81312a3d41e367cf5d0adb4",
    "validation": "bd4b459a927655b68fc197267d1300ca5570d1b4a352392617dbb1a513ca0c97",
    "test": "ad225e18dd0733dc6bcbf9df848dcd550644d736c19198eade3aed47b3201828",
}


HELD_OUT_NAMES = {name.lower() for pool in ("name", "city") for name in pools()[pool].held_out}


def held_out_things() -> set[str]:
    """Return the names, cities and things of the test split alone, in lower case."""
    slots = [choices for family in families() for choices in family.slots.values() if isinstance(choices, Choices)]
    new = [
        Choices((), choices.common)
        for family in families()
        if family.held_out
        for choices in family.slots.values()
        if isinstance(choices, Choices)
    ]
    return HELD_OUT_NAMES | {thing.lower() for choices in [*slots, *new] for thing in choices.held_out}


def held_out_phrasings() -> list[str]:
    """Return the longest piece without slots of every turn that the test split alone has, in lower case."""
    beats = [beat for family in families() for beat in family.beats]
    beats += [beat for family in families() for outcome in family.outcomes for beat in outcome.beats]
    openers = [family.opener for family in families()]
    of_new_scenarios = [
        Choices((), choices.common)
        for family in families()
        if family.held_out
        for choices in (family.opener, *(c for _, c in family.beats), *(c for o in family.outcomes for _, c in o.beats))
    ]
    shared = [pools()[name] for name in ("greeting", "talk", "correction", "slip", "goodbye")]
    phrasings = [
        text for choices in [*(c for _, c in beats), *openers, *of_new_scenarios, *shared] for text in choices.held_out
    ]
    turns = [turn for text in phrasings for turn in text.split(" / ")]
    return [max(re.split(r"\{\w+\}", turn), key=len).lower() for turn in turns]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_its_size_and_its_references(split: str) -> None:
    records = list(dialogues(split))

    assert len(records) == {"train": 1000, "validation": 100, "test": 200}[split]
    assert {len(record.references) for record in records} == {WORDINGS if split == "test" else 1}
    assert [record.id for record in records] == [f"{split}_{place}" for place in range(len(records))]


def test_an_unknown_builtin_split_is_refused_with_the_existing_ones() -> None:
    with pytest.raises(DataError, match=r"got 'dev'\); use train, validation, test"):
        dialogues("dev")


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_gives_the_same_bytes(split: str) -> None:
    lines = "".join(json.dumps(record.to_json()) + "\n" for record in islice(dialogues(split), 50))

    assert hashlib.sha256(lines.encode()).hexdigest() == DIGESTS[split]


def test_another_seed_gives_other_dialogues() -> None:
    texts = {record.dialogue for record in dialogues("train")}

    assert sum(record.dialogue in texts for record in dialogues("train", seed=1)) < 5


def test_no_dialogue_occurs_twice_in_or_across_splits() -> None:
    texts = [record.dialogue for split in SPLITS for record in dialogues(split)]

    assert len(set(texts)) == sum(SPLITS.values())


@pytest.mark.parametrize("split", SPLITS)
def test_turns_alternate_between_two_persons(split: str) -> None:
    for record in dialogues(split):
        tags = [re.match(r"(#Person[12]#): \S", line) for line in record.dialogue.split("\n")]
        assert all(tags), record.dialogue
        speakers = [tag[1] for tag in tags if tag]
        assert speakers[0] == "#Person1#"
        assert all(one != other for one, other in pairwise(speakers))
        assert MIN_TURNS <= len(speakers) <= MAX_TURNS


def test_short_and_long_dialogues_both_occur() -> None:
    lengths = [record.dialogue.count("\n") + 1 for record in dialogues("train")]

    assert (min(lengths), max(lengths)) == (MIN_TURNS, MAX_TURNS)


@pytest.mark.parametrize("split", SPLITS)
def test_every_fact_of_a_summary_is_in_the_dialogue(split: str) -> None:
    for record in dialogues(split):
        for summary in record.references:
            inner = re.findall(r"(?<=[a-z,] )[A-Z]\w+", summary)
            facts = set(re.findall(r"\d+:\d+|\b[A-Z]?\d+\b", summary)) | set(inner)
            assert all(re.search(rf"\b{re.escape(fact)}\b", record.dialogue) for fact in facts), (
                summary,
                record.dialogue,
            )


@pytest.mark.parametrize("held_out", [False, True])
def test_every_value_in_a_summary_occurs_in_its_scene(held_out: bool) -> None:
    rng = Random("values")
    for _ in range(2000):
        scene = draw_scene(rng, held_out=held_out)
        said, summary = scene.dialogue().lower(), scene.summary(rng.randrange(WORDINGS)).lower()
        assert all(value.lower() in said for value in scene.values.values() if value.lower() in summary), said


def test_corrected_values_and_small_talk_are_not_in_summaries() -> None:
    rng = Random("slips")
    scenes = [draw_scene(rng) for _ in range(2000)]
    slips = [scene for scene in scenes if scene.wrong]

    assert len(slips) > 300
    for scene in slips:
        assert scene.wrong is not None
        assert scene.wrong in scene.dialogue()
        summaries = [scene.summary(wording) for wording in range(WORDINGS)]
        assert not any(re.search(rf"\b{re.escape(scene.wrong)}\b", summary) for summary in summaries), summaries


def test_a_summary_names_the_right_persons() -> None:
    rng = Random("persons")
    firsts = [scene.persons()[0] for scene in (draw_scene(rng) for _ in range(200))]

    assert 50 < firsts.count("#Person1#") < 150


def test_references_differ_in_more_than_a_word() -> None:
    for record in dialogues("test"):
        words = [set(summary.lower().split()) for summary in record.references]
        assert all(len(one ^ other) >= 4 for one in words for other in words if one is not other), record.references


def test_held_out_names_and_phrasings_occur_only_in_the_test_split() -> None:
    others = [record for split in ("train", "validation") for record in dialogues(split)]
    others += islice(stream(3), 3000)
    everything = "\n".join(f"{record.dialogue}\n{record.references[0]}" for record in others)

    everything = everything.lower()
    assert set(re.findall(r"[a-z]+", everything)) & HELD_OUT_NAMES == set()
    assert [thing for thing in held_out_things() if thing in everything] == []
    assert [phrasing for phrasing in held_out_phrasings() if phrasing in everything] == []


def test_every_test_dialogue_contains_something_held_out() -> None:
    things, phrasings = held_out_things(), held_out_phrasings()
    for record in dialogues("test"):
        text = record.dialogue.lower()
        assert any(phrasing in text for phrasing in phrasings), record.dialogue
        assert any(thing in text for thing in things), record.dialogue


def test_one_test_dialogue_in_five_has_a_held_out_scenario() -> None:
    rng = Random("scenarios")
    drawn = [draw_scene(rng, held_out=True).family for _ in range(1000)]

    assert {family.name for family in drawn if family.held_out} == {"vet", "tickets", "fine", "tutor"}
    assert 120 < sum(family.held_out for family in drawn) < 280
    assert not any(draw_scene(rng).family.held_out for _ in range(1000))


def test_every_family_and_outcome_occurs() -> None:
    rng = Random("families")
    scenes = [draw_scene(rng, held_out=True) for _ in range(2000)]
    drawn = {(scene.family.name, scene.outcome.name) for scene in scenes}

    assert drawn == {(family.name, outcome.name) for family in families() for outcome in family.outcomes}
    assert sum(not family.held_out for family in families()) >= 12


def test_families_are_complete() -> None:
    for family in families():
        assert len(family.wordings) == WORDINGS, family.name
        assert family.correct in family.slots, family.name
        for outcome in family.outcomes:
            assert len(outcome.wordings) == WORDINGS, (family.name, outcome.name)
            assert outcome.beats, (family.name, outcome.name)
        assert all(choices.common for _, choices in family.beats), family.name
        assert all(choices.held_out for _, choices in family.beats) != family.held_out, family.name


@pytest.mark.parametrize("vague", [False, True])
@pytest.mark.parametrize("salient", [(), *((kind,) for kind in KINDS), KINDS])
def test_summaries_are_well_formed_with_any_facts_left_out(salient: tuple[str, ...], vague: bool) -> None:
    rng = Random("salience")
    for _ in range(500):
        scene = draw_scene(rng, held_out=True)
        for wording in range(WORDINGS):
            template = f"{scene.family.wordings[wording]} {scene.outcome.wordings[wording]}"
            text = scene.render(template, *scene.persons(), past=rng.random() < 0.5, salient=salient, vague=vague)
            assert not re.search(r"[][<>{}|]|  | [.,]|[.,]{2}|,$|^ ", text), text
            assert re.fullmatch(r"[A-Z#].*\.", text), text


def test_a_fact_is_stated_if_its_kind_is_salient_and_otherwise_left_out_or_hinted_at() -> None:
    rng = Random("course")
    scene = next(scene for scene in iter(lambda: draw_scene(rng), None) if scene.family.name == "course")
    template = scene.family.wordings[0]

    told = scene.render(template, "A", "B", past=True, salient=("money",))
    assert told == f"A asked about the {scene.values['subject']} course for {scene.values['fee']}."
    assert scene.render(template, "A", "B", salient=()) == f"A asks about the {scene.values['subject']} course."
    hinted = scene.render(template, "A", "B", salient=("when",), vague=True)
    when = f"on {scene.values['day']} at {scene.values['time']}"
    assert hinted == f"A asks about the {scene.values['subject']} course {when} for some money."


def test_a_stream_uses_constant_memory_and_rarely_repeats() -> None:
    tracemalloc.start()
    hashes = set()
    records = stream(7)
    for record in islice(records, 2000):
        hashes.add(hashlib.md5(record.dialogue.encode()).digest())
    before = tracemalloc.get_traced_memory()[0]
    for record in islice(records, 2000):
        hashes.add(hashlib.md5(record.dialogue.encode()).digest())
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for record in islice(records, 16_000):
        hashes.add(hashlib.md5(record.dialogue.encode()).digest())

    assert grown < 1_000_000  # the digests themselves
    assert len(hashes) > 19_900
    assert record.id == "stream_19999"


def test_a_stream_can_contain_made_up_words() -> None:
    known = {word for record in islice(stream(0), 2000) for word in record.dialogue.split()}
    plain = [word for record in islice(stream(1), 200) for word in record.dialogue.split()]
    invented = [word for record in islice(stream(1, invented=1.0), 200) for word in record.dialogue.split()]

    assert sum(word not in known for word in plain) < 0.01 * len(plain)
    assert sum(word not in known for word in invented) > 0.03 * len(invented)
    rng = Random("word")
    words = {invented_word(rng) for _ in range(2000)}
    assert len(words) > 1900
    assert all(re.fullmatch(r"[a-z]{3,12}", word) for word in words)
    assert not words & listed_words()


def test_sentences_are_capitalized() -> None:
    assert (
        capitalize("the door is open. it is 3:00. #Person1# goes? yes")
        == "The door is open. It is 3:00. #Person1# goes? Yes"
    )


def test_the_generator_needs_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import summtune.data.builtin as g; next(g.dialogues('test'));"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["summtune"]
