"""Lists of turns as dialogues."""

import json

import pytest

from summtune.data.rows import Row, RowPosition
from summtune.data.turns import dialogue_of
from summtune.data.values import EmptyError, UnusableError

TURNS = [{"speaker": "Anna", "text": "Hi."}, {"speaker": "Ben", "text": "Bye."}]
LINES = "Anna: Hi.\nBen: Bye."


def read(value: object, *, may_be_empty: bool = False) -> str:
    return dialogue_of(Row(RowPosition("a.jsonl", "line", 1), {"talk": value}), "talk", may_be_empty=may_be_empty)


@pytest.mark.parametrize(
    "turns",
    [
        TURNS,
        [["Anna", "Hi."], ["Ben", "Bye."]],
        [("Anna", "Hi."), {"name": "Ben", "message": "Bye."}],
        [{"role": "Anna", "content": "Hi."}, {"from": "Ben", "value": "Bye."}],
        [{"speaker": "Anna:", "utterance": " Hi.\n"}, {"speaker": " Ben", "text": "Bye.", "time": 3, "id": "x"}],
        [{"speaker": "Anna", "role": None, "text": "Hi."}, {"name": "Ben", "content": [{"text": "Bye."}]}],
        [*TURNS, {"speaker": "Anna", "text": None}, {"speaker": None, "text": " "}, ["Ben", ""]],
        json.dumps(TURNS),
        json.dumps(TURNS, indent=1),
        " [[ 'x' ]".replace("'x' ]", '"Anna", "Hi."], ["Ben", "Bye."]]'),
    ],
)
def test_each_turn_is_a_line(turns: object) -> None:
    assert read(turns) == LINES


def test_line_breaks_in_a_turn_become_spaces_because_a_line_is_a_turn() -> None:
    assert read([["Anna\nB.", "Hi.\r\n\r\n  Bye.\n"], ["Ben", "a\tb"]]) == "Anna B.: Hi. Bye.\nBen: a\tb"


def test_a_speaker_may_be_a_whole_number() -> None:
    assert read([[0, "Hi."], {"speaker": 1, "text": "Bye."}]) == "0: Hi.\n1: Bye."


@pytest.mark.parametrize(
    "text",
    ["[Anna enters]\nA: Hi. [exit]", "[[Scene]]\nA: Hi.", '["A: Hi."]', "[1, 2]", '[{"Hi"} she said.', "A: [] B: []"],
)
def test_other_text_is_a_dialogue_as_it_is(text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["A: Hi."], r"turn 1 of talk must be {speaker, text} or \[speaker, text\] \(got a string\)"),
        ([["A", "Hi."], ["A", "b", "c"]], r"turn 2 of talk must be .* \(got a list of 3\)"),
        ([None], r"turn 1 of talk must be .* \(got null\)"),
        (
            [{"who": "A", "said": "Hi."}],
            r"turn 1 of talk has no text \(got keys: who, said\); name its keys speaker and",
        ),
        ([{}], r"turn 1 of talk has no text \(got keys: none\)"),
        ([{"text": "Hi."}], r"turn 1 of talk has no speaker \(got null\); name one"),
        ([["", "Hi."]], r"turn 1 of talk has no speaker \(got ''\)"),
        ([[":", "Hi."]], r"turn 1 of talk has no speaker \(got ':'\)"),
        ([[True, "Hi."]], r"the speaker of turn 1 of talk must be a string \(got a boolean\)"),
        ([[1.5, "Hi."]], r"the speaker of turn 1 of talk must be a string \(got a number\)"),
        ([["A", 3]], r"the text of turn 1 of talk must be a string \(got a number\)"),
        ([["A", "x\ud83d"]], r"the text of turn 1 of talk contains half of a surrogate pair"),
        ([{"role": "user", "name": "A", "text": "Hi."}], r"has several keys for its speaker \(got role and name\)"),
        ([{"role": "A", "text": "x", "value": "y"}], r"has several keys for its text \(got text and value\)"),
        ([["A", [{"type": "image_url", "image_url": "x"}]]], r"part 1 of turn 1 of talk is not text \(got image_url\)"),
        ([["A", ["Hi."]]], r"part 1 of turn 1 of talk must be {type: text, text: …} \(got a string\)"),
        ([["A", [{"text": ["Hi."]}]]], r"the text of part 1 of turn 1 of talk must be a string \(got a list\)"),
        ("[{'speaker': 'A', 'text': 'Hi.'}]", r"talk is a list written as text that is not JSON \(got \[{'speaker'"),
        ('[{"speaker": "A", "speaker": "B"}]', r"not JSON \(got .*duplicate key 'speaker'"),
        ({"speaker": ["A"], "text": ["Hi."]}, r"talk must be a string \(got an object\)"),
    ],
)
def test_what_is_no_list_of_turns_is_refused_with_its_place(value: object, message: str) -> None:
    with pytest.raises(UnusableError, match=message):
        read(value)


@pytest.mark.parametrize(
    ("value", "got"),
    [([], "an empty list"), ("[ ]", "an empty list"), ([["A", None]], "turns without text"), ("", "an empty string")],
)
def test_a_dialogue_without_text_is_empty(value: object, got: str) -> None:
    with pytest.raises(EmptyError, match=rf"talk is empty \(got {got}\)"):
        read(value)
    assert read(value, may_be_empty=True) == ""
