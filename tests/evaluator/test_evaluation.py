import json

import pytest

from summtune.base.errors import DataError, InputError
from summtune.base.files import read_json, read_jsonl
from summtune.evaluator.evaluation import evaluate, write_evaluation
from summtune.recipe.sections import EvaluationSettings
from summtune.runs.records import Prediction

FAST = EvaluationSettings(bootstrap_samples=200)


def prediction(id_, text, *references):
    return Prediction(
        id=id_,
        dialogue="A: Hi.",
        prediction=text,
        references=references,
        prompt_tokens=9,
        new_tokens=4,
        truncated=False,
        hit_length_cap=False,
    )


@pytest.fixture
def predictions():
    return [
        prediction("a", "the meeting is on friday", "the meeting moved to friday", "they meet on friday"),
        prediction("b", "nobody agrees", "they do not agree"),
        prediction("c", "lunch at noon", "they have lunch at noon"),
    ]


def test_metrics_json_states_the_protocol_and_the_scores(tmp_path, predictions):
    write_evaluation(tmp_path, evaluate(predictions, FAST))
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["protocol"] == {
        "implementation": "rouge_score",
        "version": "0.1.2",
        "tokenizer": "rouge",
        "stemmer": True,
        "sentence_splitting": "sentencex 1.0.32",
        "references": "mean",
        "bootstrap": {"samples": 200, "seed": 42, "confidence": 0.95},
    }
    assert metrics["n"] == 3
    assert list(metrics["metrics"]) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    for each in metrics["metrics"].values():
        assert 0 <= each["ci_low"] <= each["value"] <= each["ci_high"] <= 1
    assert metrics["per_example"] == "per_example.jsonl"
    assert metrics["diagnostics"]["warnings"] == []


def test_every_aggregation_the_floor_and_the_ceiling_stand_beside_the_scores(predictions):
    three = [prediction("a", "they meet", "they meet", "they talk", "nothing"), prediction("b", "x", "x", "y", "z")]
    found = evaluate(three, EvaluationSettings(metrics=["rouge1"], bootstrap_samples=100))
    assert found.by_references["rouge1"] == {"mean": pytest.approx(5 / 12), "max": 1.0, "each": [1.0, 0.25, 0.0]}
    assert found.metrics["rouge1"].value == pytest.approx(5 / 12)
    assert (found.ceiling["name"], found.ceiling["n"]) == ("human agreement", 2)
    # Of a's references two share one of two words, so each of them agrees with the others by (0.5 + 0) / 2.
    assert found.ceiling["metrics"]["rouge1"]["value"] == pytest.approx((0.25 + 0.25 + 0) / 3 / 2)
    assert (found.floor["name"], found.floor["n"]) == ("lead-3", 2)
    assert found.floor["metrics"]["rouge1"]["value"] == 0.0  # the dialogue is "A: Hi."
    mixed = evaluate(predictions, FAST)
    assert mixed.ceiling["n"] == 1  # only one dialogue has two references
    assert mixed.by_references["rouge1"]["each"] is None


def test_a_system_no_better_than_three_turns_is_told_so():
    copied = [prediction("a", "A: Hi.", "hi a"), prediction("b", "A: Hi.", "they say hi")]
    settings = EvaluationSettings(metrics=["rouge1"], bootstrap_samples=100)
    assert evaluate(copied, settings).diagnostics["warnings"][-1] == (
        "The predictions score no higher than the first three turns of each dialogue (lead-3): 70.0 against 70.0 "
        "ROUGE-1."
    )
    better = [prediction("a", "hi a", "hi a"), prediction("b", "they say", "they say hi")]
    assert not any("lead-3" in each for each in evaluate(better, settings).diagnostics["warnings"])


def test_where_nobody_knows_the_dialogues_there_is_no_floor_and_no_hash_of_them(predictions):
    from dataclasses import replace

    unknown = evaluate([replace(each, dialogue="") for each in predictions], FAST)
    assert (unknown.floor, unknown.dialogues_sha256) == (None, None)
    assert evaluate(predictions, FAST).dialogues_sha256 is not None


def test_per_dialogue_scores_stand_beside_it_and_average_to_the_value(tmp_path, predictions):
    evaluation = evaluate(predictions, FAST)
    write_evaluation(tmp_path, evaluation)
    rows = list(read_jsonl(tmp_path / "per_example.jsonl"))
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert list(rows[0]) == ["id", "rouge1", "rouge2", "rougeL", "rougeLsum"]
    assert sum(row["rouge1"] for row in rows) / 3 == pytest.approx(evaluation.metrics["rouge1"].value)


def test_the_same_predictions_give_the_same_bytes(tmp_path, predictions):
    for name in ("first", "second"):
        write_evaluation(tmp_path / name, evaluate(predictions, FAST))
    for file in ("metrics.json", "per_example.jsonl"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_the_test_sets_hash_ignores_order_and_predictions_but_not_ids_and_references(predictions):
    first = evaluate(predictions, FAST)
    turned = evaluate(predictions[::-1], FAST)
    rewritten = evaluate([prediction("a", "x", *predictions[0].references), *predictions[1:]], FAST)
    other_id = evaluate([prediction("z", "x", *predictions[0].references), *predictions[1:]], FAST)
    other_reference = evaluate([prediction("a", "x", "another"), *predictions[1:]], FAST)
    assert first.ids_sha256 == turned.ids_sha256 == rewritten.ids_sha256
    assert len({first.ids_sha256, other_id.ids_sha256, other_reference.ids_sha256}) == 3
    assert first.outputs_sha256 == turned.outputs_sha256 != rewritten.outputs_sha256


def test_the_hash_takes_texts_that_no_utf8_file_can_hold():
    evaluate([prediction(json.loads('"\\ud800"'), "x", "y")], FAST)


def test_settings_choose_metrics_and_the_reference_aggregation(predictions):
    mean = evaluate(predictions, EvaluationSettings(metrics=["rouge2"], bootstrap_samples=100))
    best = evaluate(predictions, EvaluationSettings(metrics=["rouge2"], references="max", bootstrap_samples=100))
    assert list(mean.metrics) == ["rouge2"]
    assert best.metrics["rouge2"].value > mean.metrics["rouge2"].value
    assert best.protocol["references"] == "max"


def test_no_predictions_are_an_error():
    with pytest.raises(DataError, match=r"nothing to score \(got 0 predictions\)"):
        evaluate([], FAST)


def test_a_doubled_id_is_an_error(predictions):
    with pytest.raises(DataError, match=r"an id stands for several predictions \(got 'b' more than once, 1 such ids\)"):
        evaluate([*predictions, predictions[1]], FAST)


@pytest.mark.parametrize("references", [(), ("",), ("fine", " \n")])
def test_a_missing_or_empty_reference_is_an_error_that_names_the_id(references):
    with pytest.raises(DataError, match=r"a reference is missing or empty .* for id 'x'"):
        evaluate([prediction("x", "text", *references)], FAST)


def test_a_misspelt_rouge_is_an_error(predictions):
    with pytest.raises(InputError, match="unknown ROUGE variant \\(got 'rougel'\\)"):
        evaluate(predictions, EvaluationSettings(metrics=["rougel"]))
