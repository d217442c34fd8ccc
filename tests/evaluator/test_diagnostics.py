from summtune.evaluator.diagnostics import diagnose
from summtune.records import Prediction


def prediction(id_, text="a summary", references=("a reference of five words",), **changes):
    fields = {"prompt_tokens": 10, "new_tokens": 4, "truncated": False, "hit_length_cap": False} | changes
    return Prediction(id=id_, dialogue="A: Hi.", prediction=text, references=references, **fields)


def test_sound_predictions_give_means_and_no_warning():
    found = diagnose([prediction("a", "one two"), prediction("b", "three", new_tokens=8)])
    assert found["mean_new_tokens"] == 6
    assert found["mean_prompt_tokens"] == 10
    assert found["mean_prediction_words"] == 1.5
    assert found["mean_reference_words"] == 5
    assert found["empty_predictions"] == {"count": 0, "examples": []}
    assert found["warnings"] == []


def test_empty_capped_and_truncated_are_counted_with_three_ids_at_most():
    rows = [
        prediction(str(i), " \n" if i < 4 else f"text {i}", hit_length_cap=i == 5, truncated=i > 5) for i in range(8)
    ]
    found = diagnose(rows)
    assert found["empty_predictions"] == {"count": 4, "examples": ["0", "1", "2"]}
    assert found["hit_length_cap"] == {"count": 1, "examples": ["5"]}
    assert found["truncated_dialogues"] == {"count": 2, "examples": ["6", "7"]}
    assert found["warnings"] == [
        "4 of 8 predictions are empty and score 0 (for instance 0, 1, 2).",
        "1 of 8 predictions hit max_new_tokens and may be cut short (for instance 5).",
        "2 of 8 dialogues were truncated to fit sequence_len (for instance 6, 7).",
    ]


def test_one_text_for_more_than_half_of_the_dialogues_is_constant_output():
    same = [prediction(str(i), "The same. ") for i in range(3)]
    assert diagnose([*same, prediction("3", "x"), prediction("4", "y")])["constant_output"]["count"] == 3
    assert diagnose([*same, *(prediction(str(i), f"text {i}") for i in range(3, 6))])["constant_output"]["count"] == 0


def test_one_dialogue_or_empty_outputs_are_not_called_constant():
    assert diagnose([prediction("a")])["constant_output"]["count"] == 0
    assert diagnose([prediction("a", ""), prediction("b", "")])["constant_output"]["count"] == 0


def test_references_that_rouge_cannot_read_are_said():
    found = diagnose([prediction("zh", references=("English", "会议推迟了。"))])
    assert found["references_without_words"] == {"count": 1, "examples": ["zh"]}
    assert "ROUGE scores 0 whatever was written (for instance zh)" in found["warnings"][0]
