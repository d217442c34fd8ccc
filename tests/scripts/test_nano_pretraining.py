"""The prompts for pretraining the built-in model show their style only in the exemplars."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

pytest.importorskip("torch")

from scripts.nano.episodes import TEMPLATE, Mixture, copies, episodes
from scripts.nano.make_nano import STAGES
from scripts.nano.model import build_model
from scripts.nano.styles import BUILTIN, LEADS, PERSONS, draw_style
from summtune.data.builtin import dialogues
from summtune.data.builtin.families import KINDS, WORDINGS
from summtune.data.builtin.scenes import draw_scene, listed_words


@pytest.fixture(scope="module")
def scene():
    """A conversation about a course, in which the two say their names."""
    rng = Random("a course")
    scenes = iter(lambda: draw_scene(rng, named=1.0), None)
    return next(each for each in scenes if (each.family.name, each.outcome.name) == ("course", "joined"))


def summaries(style, scene):
    rng = Random(0)
    return {style.summary(scene, rng) for _ in range(20)}


def test_the_built_in_style_is_that_of_the_built_in_dialogues(scene) -> None:
    assert summaries(BUILTIN, scene) == {scene.summary(wording) for wording in range(WORDINGS)}


@pytest.mark.parametrize("persons", PERSONS)
def test_persons_are_named_according_to_the_style(scene, persons) -> None:
    first = "A" if scene.turns[0][0] == "A" else "B"
    wanted = {
        "tags": scene.persons(),
        "roles": ("The student", "the secretary"),
        "letters": ("A", "B") if first == "A" else ("B", "A"),
        "names": scene.names,
    }[persons]

    text = next(each for each in summaries(replace(BUILTIN, persons=persons), scene) if "tells" not in each)

    assert text.startswith(wanted[0])


def test_summaries_follow_the_styles_tense_order_lead_salience_and_title(scene) -> None:
    assert any(" joined the course." in text for text in summaries(replace(BUILTIN, past=True), scene))
    for text in summaries(replace(BUILTIN, outcome_first=True), scene):
        assert text.index(scene.values["subject"]) > text.index(".")
    assert all(text.startswith("Note: #Person") for text in summaries(replace(BUILTIN, lead="Note: "), scene))
    for text in summaries(replace(BUILTIN, salient=frozenset({"money"})), scene):
        assert scene.values["fee"] in text
        assert scene.values["time"] not in text
        assert text.count(".") == 1
    for text in summaries(replace(BUILTIN, salient=frozenset({"when", "outcome"}), vague=True), scene):
        assert "some money" in text
        assert scene.values["fee"] not in text
        assert scene.values["time"] in text
        assert text.count(".") == 2
    title = replace(BUILTIN, title="Topic: {topic}.")
    assert summaries(title, scene) == {f"Topic: a course in {scene.values['subject']}."}


def test_the_style_of_the_built_in_dialogues_is_as_rare_as_the_docs_say() -> None:
    """Of all prompts one in 300; one in 80 in the stage ``early``, one in 2,500 after it."""
    rng, rows, built_in = Random("shares"), Counter(), Counter()
    for stage in STAGES:
        if stage.mixture is None:
            continue
        name = "early" if stage.name == "early" else "later"
        for _ in range(stage.rows):
            style = draw_style(rng, stage.mixture.told, stage.mixture.vague, stage.mixture.outcome)
            rows[name] += 1
            # Hints make no difference if everything is stated.
            built_in[name] += replace(style, vague=False) == BUILTIN

    assert 70 < rows["early"] / built_in["early"] < 90
    assert 1_700 < rows["later"] / built_in["later"] < 3_700
    assert 260 < rows.total() / built_in.total() < 340


def test_styles_are_drawn_evenly() -> None:
    rng = Random("styles")
    drawn = [draw_style(rng, told=(0.4,), vague=0.8) for _ in range(8000)]

    assert all(1800 < count < 2200 for count in Counter(style.persons for style in drawn).values())
    for kind in (*KINDS, "outcome"):
        assert 3000 < sum(kind in style.salient for style in drawn) < 3400
    assert all(700 < sum(style.lead == lead for style in drawn) < 900 for lead in LEADS)
    assert 5400 < sum("outcome" in draw_style(rng, (0.4,), outcome=0.7).salient for _ in range(8000)) < 5800
    assert 6200 < sum(style.vague for style in drawn) < 6600


def test_styles_tell_the_requested_share_of_facts() -> None:
    rng = Random("told")
    told = Counter(len(draw_style(rng, told=(0.0, 1.0)).salient) for _ in range(1000))

    assert set(told) == {0, len(KINDS) + 1}
    assert 400 < told[0] < 600


def test_one_of_several_dialogues_may_be_long() -> None:
    turns = []
    for prompt, _ in islice(episodes(Random("long"), Mixture((0.0, 0.0, 1.0), (6, 6, 6))), 100):
        dialogues = prompt.split("Summarize the following conversation.")[1:]
        turns.append(sorted(len(re.findall(r"^#Person\d#: ", each, re.MULTILINE)) for each in dialogues))

    assert all(shorter <= 6 for *most, _ in turns for shorter in most)
    assert max(longest for *_, longest in turns) == 16


def test_an_episode_has_the_requested_number_of_exemplars_in_one_style() -> None:
    for shots in range(4):
        chances = tuple(float(count == shots) for count in range(4))
        for prompt, target in islice(episodes(Random(shots), Mixture(chances, (16, 16, 8, 6))), 50):
            assert prompt.count("Summarize the following conversation.") == shots + 1
            assert prompt.endswith("\n\nSummary:")
            leads = {lead for lead in LEADS if lead in prompt.replace("Summary:", "") or target.startswith(lead)}
            shown = re.findall(r"Summary: (.*)\n", prompt)
            assert len(shown) == shots
            assert all(each.startswith(lead) for each in [*shown, target] for lead in leads)


def test_no_episode_has_a_name_or_thing_of_the_test_split() -> None:
    apart = listed_words(held_out=True)
    everywhere = {word for record in dialogues("train") for word in re.findall("[a-z]+", record.dialogue.lower())}
    words = Counter(
        word
        for prompt, target in islice(episodes(Random("held out"), Mixture((0.25,) * 4, (16,) * 4)), 1500)
        for word in re.findall("[a-z]+", f"{prompt} {target}".lower())
    )

    assert set(words) & (apart - everywhere) == set()


def test_abridged_exemplars_show_their_summaries_and_little_else() -> None:
    for prompt, _ in islice(episodes(Random("abridged"), Mixture((0.0, 0.0, 1.0), (16, 16, 16), abridged=1.0)), 50):
        *shown, last = prompt.split("Summarize the following conversation.")[1:]
        assert [len(re.findall(r"^#Person\d#: ", each, re.MULTILINE)) for each in shown] == [2, 2]
        assert all(re.search(r"\nSummary: \S", each) for each in shown)
        assert len(re.findall(r"^#Person\d#: ", last, re.MULTILINE)) >= 4


def test_a_garbled_scene_keeps_its_facts_and_its_persons() -> None:
    plain = list(islice(episodes(Random("garbled"), Mixture((1.0,), (16,), garbled=0.0)), 200))
    for prompt, target in islice(episodes(Random("garbled"), Mixture((1.0,), (16,), garbled=1.0)), 200):
        for fact in re.findall(r"\b[A-Z]?\d[\d:]*\b", target):
            assert fact in prompt, (fact, prompt)
        speakers = re.findall(r"^(#Person\d#): \S", prompt, re.MULTILINE)
        assert speakers[::2] == ["#Person1#"] * len(speakers[::2])
        assert speakers[1::2] == ["#Person2#"] * len(speakers[1::2])
    assert plain[0][0] != next(episodes(Random("garbled"), Mixture((1.0,), (16,), garbled=1.0)))[0]


def test_the_prompts_of_a_stage_are_the_same_for_the_same_seed() -> None:
    for stage in STAGES:
        first, second, other = (list(islice(stage.prompts(seed, ["one", "two"]), 20)) for seed in (0, 0, 1))
        assert first == second != other


def test_copies_repeat_words_that_are_drawn_evenly() -> None:
    pairs = list(islice(copies(Random(0), ["one", "two", "three"]), 300))

    assert all(text == target for text, target in pairs)
    counts = Counter(word for text, _ in pairs for word in text.split())
    assert max(counts.values()) < 1.2 * min(counts.values())
    assert {len(text.split()) for text, _ in pairs} == set(range(5, 12))


def test_attention_of_a_fresh_model_finds_similar_tokens() -> None:
    import torch

    torch.manual_seed(0)
    model = build_model(300).eval()
    model.set_attn_implementation("eager")  # the others keep their weights to themselves
    tokens = torch.arange(10, 30)[None]
    with torch.no_grad():
        output = model(input_ids=tokens, decoder_input_ids=tokens, output_attentions=True)

    looked_at = output.cross_attentions[0].mean(dim=1)[0].argmax(dim=-1)
    assert (looked_at == torch.arange(20)).float().mean() > 0.2  # by chance: 0.05
    one_back = output.encoder_attentions[0][0, 0].argmax(dim=-1)
    assert (one_back[1:] == torch.arange(19)).float().mean() > 0.8


def test_the_template_is_the_one_that_recipes_use() -> None:
    assert TEMPLATE.format(dialogue="X") == "Summarize the following conversation.\n\nX\n\nSummary:"
