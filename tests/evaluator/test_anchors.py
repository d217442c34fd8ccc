from summtune.evaluator.anchors import ceiling, floor, lead
from summtune.runs.records import Prediction


def prediction(id_, dialogue, *references):
    return Prediction(id_, dialogue, "x", references, 9, 4, False, False)


def test_the_floor_is_the_first_three_turns():
    assert lead("A: One.\n\nB: Two. More.\nA: Three.\nB: Four.") == "A: One.\nB: Two. More.\nA: Three."
    assert lead("A: One.\nB: Two.") == "A: One.\nB: Two."


def test_the_floor_of_a_single_line_is_the_first_three_sentences():
    assert [line.strip() for line in lead("He came. She left. They met. It rained.").split("\n")] == [
        "He came.",
        "She left.",
        "They met.",
    ]


def test_the_floor_is_scored_like_a_system():
    texts = floor([prediction("a", "A: Hi.", "greeting", "hello"), prediction("b", "B: Bye.", "parting")])
    assert (texts.texts, texts.references) == (("A: Hi.", "B: Bye."), (("greeting", "hello"), ("parting",)))
    assert texts.texts_a_dialogue == (1, 1)


def test_without_the_dialogues_there_is_no_floor():
    assert floor([prediction("a", "A: Hi.", "x"), prediction("b", " ", "y")]) is None


def test_the_ceiling_is_each_reference_against_the_others():
    texts = ceiling([prediction("a", "A: Hi.", "r1", "r2", "r3"), prediction("b", "B: Bye.", "alone")])
    assert texts.texts == ("r1", "r2", "r3")
    assert texts.references == (("r2", "r3"), ("r1", "r3"), ("r1", "r2"))
    assert texts.texts_a_dialogue == (3,)


def test_there_is_no_ceiling_with_one_reference():
    assert ceiling([prediction("a", "A: Hi.", "r1")]) is None
