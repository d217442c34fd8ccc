"""The two records, to JSON and back."""

import json

import pytest

from summtune.records import Dialogue, Prediction


def test_a_dialogue_survives_its_line():
    dialogue = Dialogue("test_0", "#Person1#: Hi.\n#Person2#: Hello.", ("They greet.", "A greeting."))
    line = json.loads(json.dumps(dialogue.to_json()))
    assert line == {"id": "test_0", "dialogue": dialogue.dialogue, "references": ["They greet.", "A greeting."]}
    assert Dialogue.from_json(line) == dialogue


def test_a_prediction_survives_its_line():
    prediction = Prediction(
        "test_0", "A: Hi.", "They greet.", ("A greeting.",), 12, 5, truncated=True, hit_length_cap=False
    )
    line = json.loads(json.dumps(prediction.to_json()))
    assert set(line) == {
        "id", "dialogue", "prediction", "references", "prompt_tokens", "new_tokens", "truncated", "hit_length_cap",
    }  # fmt: skip
    assert Prediction.from_json(line) == prediction


def test_a_line_of_something_else_is_no_prediction():
    with pytest.raises(TypeError, match="surprise"):
        Prediction.from_json({"references": [], "surprise": 1})
