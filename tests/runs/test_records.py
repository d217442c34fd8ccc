"""Dialogues and predictions, to JSON and back."""

import json

import pytest

from summtune.base.errors import DataError
from summtune.runs.answers import Answer, Usage
from summtune.runs.records import Dialogue, Prediction


def test_a_dialogue_is_unchanged_after_json():
    dialogue = Dialogue("test_0", "#Person1#: Hi.\n#Person2#: Hello.", ("They greet.", "A greeting."))
    line = json.loads(json.dumps(dialogue.to_json()))
    assert line == {"id": "test_0", "dialogue": dialogue.dialogue, "references": ["They greet.", "A greeting."]}
    assert Dialogue.from_json(line) == dialogue


def test_a_prediction_is_unchanged_after_json():
    prediction = Prediction(
        "test_0", "A: Hi.", "They greet.", ("A greeting.",), 12, 5, truncated=True, hit_length_cap=False
    )
    line = json.loads(json.dumps(prediction.to_json()))
    assert set(line) == {
        "id", "dialogue", "prediction", "references", "prompt_tokens", "new_tokens", "truncated", "hit_length_cap",
    }  # fmt: skip
    assert Prediction.from_json(line) == prediction


def test_a_thought_is_kept_and_a_file_without_the_key_is_read():
    prediction = Prediction("a", "A: Hi.", "They greet.", ("A greeting.",), thinking="A greeting?")
    assert json.loads(json.dumps(prediction.to_json()))["thinking"] == "A greeting?"
    assert Prediction.from_json(prediction.to_json()) == prediction
    older = {key: value for key, value in prediction.to_json().items() if key != "thinking"}
    assert Prediction.from_json(older).thinking is None


def test_the_answer_of_a_server_is_kept_and_a_damaged_one_is_refused():
    answer = Answer(model="m", usage=Usage(prompt_tokens=9, new_tokens=4), seconds=0.5)
    prediction = Prediction("a", "A: Hi.", "They greet.", ("A greeting.",), answer=answer)
    line = json.loads(json.dumps(prediction.to_json()))
    assert line["answer"] == {"model": "m", "usage": {"prompt_tokens": 9, "new_tokens": 4}, "seconds": 0.5}
    assert Prediction.from_json(line) == prediction
    assert "answer" not in Prediction("a", "A: Hi.", "They greet.", ("A greeting.",)).to_json()
    with pytest.raises(DataError, match=r"answer of a prediction: seconds: .*got 'long'"):
        Prediction.from_json(line | {"answer": {"seconds": "long"}})
    with pytest.raises(DataError, match=r"answer of a prediction must be an object or null \(got 'long'\)"):
        Prediction.from_json(line | {"answer": "long"})


def test_unknown_fields_of_external_predictions_are_null():
    line = json.loads(json.dumps(Prediction("a", "", "They greet.", ("A greeting.",)).to_json()))
    assert line["prompt_tokens"] is line["new_tokens"] is line["truncated"] is line["hit_length_cap"] is None
    assert Prediction.from_json(line) == Prediction("a", "", "They greet.", ("A greeting.",))


LINE = Prediction("a", "A: Hi.", "They greet.", ("A greeting.",), 12, 5, True, False).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, r"a prediction has unknown keys \(got surprise\); write the file again"),
        ({"id": 7}, r"id of a prediction must be text \(got 7\)"),
        ({"thinking": 7}, r"thinking of a prediction must be text or null \(got 7\)"),
        ({"prediction": None}, r"prediction of a prediction must be text \(got None\)"),
        ({"references": "one"}, r"references of a prediction must be a list of texts \(got 'one'\)"),
        ({"references": ["one", 2]}, r"references of a prediction must be a list of texts \(got \['one', 2\]\)"),
        ({"new_tokens": True}, r"new_tokens of a prediction must be a whole number or null \(got True\)"),
        ({"prompt_tokens": 1.5}, r"prompt_tokens of a prediction must be a whole number or null \(got 1.5\)"),
        ({"truncated": 1}, r"truncated of a prediction must be true or false or null \(got 1\)"),
    ],
)
def test_a_prediction_with_a_wrong_value_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        Prediction.from_json(LINE | change)


def test_a_prediction_with_missing_keys_is_refused():
    with pytest.raises(DataError, match=r"a prediction lacks keys \(got id, new_tokens\); write the file again"):
        Prediction.from_json({key: value for key, value in LINE.items() if key not in ("id", "new_tokens")})
    with pytest.raises(DataError, match=r"a prediction must be an object \(got list\)"):
        Prediction.from_json([])
