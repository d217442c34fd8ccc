"""Tests of the built-in dialogues: what is in them, what is kept apart, and that they never change unnoticed."""

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

from summtune.dialogue_generator import SPLITS, dialogues, stream
from summtune.dialogue_generator.families import WORDINGS, families, pools
from summtune.dialogue_generator.scenes import MAX_TURNS, MIN_TURNS, capitalize, draw_scene, invented_word
from summtune.errors import DataError

# Of the first lines of each split as JSON: whoever changes them changes every published score.
DIGESTS = {
    "train": "b67a46d6350c39d42df7401526c44cc26a91fde5c75383d8db9e1e4018e9f078",
    "validation": "f35b4098d6605784cee1ca812293a5788c3f0ce285b93dc43a878d96dd1eee23",
    "test": "5a6bdaa171c85d8d8f3e9013f76c7a075782aa2c83ff5c3a2b854acd17a7a8b1",
}


def held_out_words() -> set[str]:
    slots = [choices for family in families() for choices in family.slots.values() if not isinstance(choices, str)]
    return {word for choices in [*slots, pools()["name"], pools()["city"]] for word in choices.held_out}


def held_out_phrasings() -> list[str]:
    """Return the longest piece without slots of every turn that the test split alone has, in lower case."""
    beats = [beat for family in families() for beat in family.beats]
    beats += [beat for family in families() for outcome in family.outcomes for beat in outcome.beats]
    openers = [family.opener for family in families()]
    shared = [pools()[name] for name in ("greeting", "talk", "correction", "slip", "goodbye")]
    phrasings = [text for choices in [*(c for _, c in beats), *openers, *shared] for text in choices.held_out]
    turns = [turn for text in phrasings for turn in text.split(" / ")]
    return [max(re.split(r"\{\w+\}", turn), key=len).lower() for turn in turns]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_its_size_and_its_references(split: str) -> None:
    records = list(dialogues(split))

    assert len(records) == {"train": 1000, "validation": 100, "test": 200}[split]
    assert {len(record.references) for record in records} == {WORDINGS if split == "test" else 1}
    assert [record.id for record in records] == [f"{split}_{place}" for place in range(len(records))]


def test_an_unknown_split_is_refused_with_the_names_of_those_there_are() -> None:
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
def test_every_value_that_a_scene_summarizes_was_said(held_out: bool) -> None:
    rng = Random("values")
    for _ in range(2000):
        scene = draw_scene(rng, held_out=held_out)
        said, summary = scene.dialogue().lower(), scene.summary(rng.randrange(WORDINGS)).lower()
        assert all(value.lower() in said for value in scene.values.values() if value.lower() in summary), said


def test_what_was_taken_back_and_small_talk_never_reach_a_summary() -> None:
    rng = Random("slips")
    scenes = [draw_scene(rng) for _ in range(2000)]
    slips = [scene for scene in scenes if scene.wrong]

    assert len(slips) > 300
    for scene in slips:
        assert scene.wrong is not None
        assert scene.wrong in scene.dialogue()
        summaries = [scene.summary(wording) for wording in range(WORDINGS)]
        assert not any(re.search(rf"\b{re.escape(scene.wrong)}\b", summary) for summary in summaries), summaries


def test_a_summary_tells_who_wants_something_from_whom() -> None:
    rng = Random("persons")
    firsts = [scene.persons()[0] for scene in (draw_scene(rng) for _ in range(200))]

    assert 50 < firsts.count("#Person1#") < 150


def test_references_differ_in_more_than_a_word() -> None:
    for record in dialogues("test"):
        words = [set(summary.lower().split()) for summary in record.references]
        assert all(len(one ^ other) >= 4 for one in words for other in words if one is not other), record.references


def test_what_is_held_out_for_test_is_nowhere_else() -> None:
    others = [record for split in ("train", "validation") for record in dialogues(split)]
    others += islice(stream(3), 3000)
    everything = "\n".join(f"{record.dialogue}\n{record.references[0]}" for record in others)

    words = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(held_out_words())))})\b", re.IGNORECASE)
    assert [word for line in set(everything.split("\n")) for word in words.findall(line)] == []
    everything = everything.lower()
    assert [phrasing for phrasing in held_out_phrasings() if phrasing in everything] == []


def test_every_test_dialogue_holds_something_held_out() -> None:
    words, phrasings = held_out_words(), held_out_phrasings()
    for record in dialogues("test"):
        text = record.dialogue.lower()
        assert any(phrasing in text for phrasing in phrasings), record.dialogue
        assert any(word.lower() in text for word in words), record.dialogue


def test_every_family_and_outcome_occurs() -> None:
    rng = Random("families")
    drawn = {(scene.family.name, scene.outcome.name) for scene in (draw_scene(rng) for _ in range(1500))}

    assert drawn == {(family.name, outcome.name) for family in families() for outcome in family.outcomes}
    assert len(families()) >= 12


def test_families_are_complete() -> None:
    for family in families():
        assert len(family.wordings) == WORDINGS, family.name
        assert family.correct in family.slots, family.name
        for outcome in family.outcomes:
            assert len(outcome.wordings) == WORDINGS, (family.name, outcome.name)
            assert outcome.beats, (family.name, outcome.name)
        assert all(choices.common and choices.held_out for _, choices in family.beats), family.name


def test_a_stream_of_20_000_takes_no_memory_and_hardly_repeats() -> None:
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


def test_a_stream_can_hold_made_up_words() -> None:
    known = {word for record in islice(stream(0), 2000) for word in record.dialogue.split()}
    plain = [word for record in islice(stream(1), 200) for word in record.dialogue.split()]
    invented = [word for record in islice(stream(1, invented=1.0), 200) for word in record.dialogue.split()]

    assert sum(word not in known for word in plain) < 0.01 * len(plain)
    assert sum(word not in known for word in invented) > 0.03 * len(invented)
    assert invented_word(Random("word")).isalpha()


def test_sentences_are_capitalized() -> None:
    assert (
        capitalize("the door is open. it is 3:00. #Person1# goes? yes")
        == "The door is open. It is 3:00. #Person1# goes? Yes"
    )


def test_the_generator_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import summtune.dialogue_generator as g; next(g.dialogues('test'));"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["summtune"]
