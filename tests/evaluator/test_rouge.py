import os

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from summtune.errors import InputError
from summtune.evaluator.rouge import has_words, is_rouge, score_rouge
from summtune.files import read_jsonl

NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def score(prediction, references, names=("rouge1",), *, use_stemmer=False, aggregate="mean"):
    return score_rouge([prediction], [references], list(names), use_stemmer=use_stemmer, aggregate=aggregate)


def test_rouge1_is_the_f_measure_of_shared_words_as_a_fraction():
    # Two of three predicted words are among four of the reference: P = 2/3, R = 2/4, F = 4/7.
    scores = score("the cat sat", ["the cat ran off"])
    np.testing.assert_allclose(scores["rouge1"], [4 / 7])


def test_several_references_are_averaged_or_the_best_is_taken():
    references = ["the cat", "a dog"]
    assert score("the cat", references)["rouge1"] == pytest.approx([0.5])
    assert score("the cat", references, aggregate="max")["rouge1"] == pytest.approx([1.0])


def test_the_best_reference_is_taken_for_each_variant_on_its_own():
    references = ["b a x", "a b c d e f"]
    scores = score("a b", references, ["rouge1", "rouge2"], aggregate="max")
    assert scores["rouge1"] == pytest.approx([0.8])  # from the first
    assert scores["rouge2"] == pytest.approx([1 / 3])  # from the second


def test_lsum_takes_lines_for_sentences_and_full_stops_for_nothing():
    lines = score("b b.\na a.", ["a a.\nb b."], ["rougeL", "rougeLsum"])
    stops = score("b b. a a.", ["a a. b b."], ["rougeL", "rougeLsum"])
    assert lines["rougeLsum"] == pytest.approx([1.0])
    assert stops["rougeLsum"] == pytest.approx([0.5])
    assert stops["rougeL"] == pytest.approx([0.5])


def test_the_stemmer_joins_the_forms_of_a_word():
    assert score("talking", ["talked"])["rouge1"] == pytest.approx([0.0])
    assert score("talking", ["talked"], use_stemmer=True)["rouge1"] == pytest.approx([1.0])


def test_an_empty_prediction_scores_zero():
    assert all(values == [0.0] for values in score("", ["a summary"], NAMES).values())


def test_scores_are_one_array_a_metric_with_one_entry_a_dialogue():
    scores = score_rouge(["a", "b"], [["a"], ["x", "b"]], NAMES, use_stemmer=True, aggregate="mean")
    assert list(scores) == NAMES
    assert {values.shape for values in scores.values()} == {(2,)}


@pytest.mark.parametrize("use_stemmer", [True, False])
def test_equals_rouge_score_itself_on_real_summaries(use_stemmer):
    folder = os.environ.get("SUMMTUNE_TEST_DATA")
    if not folder:
        pytest.skip("SUMMTUNE_TEST_DATA is unset: no DialogSum to score")
    from pathlib import Path

    rows = list(read_jsonl(Path(folder) / "data" / "dialogsum" / "test.jsonl"))[:60]
    predictions = [row["summary1"] for row in rows]
    references = [[row["summary2"], row["summary3"]] for row in rows]
    ours = score_rouge(predictions, references, NAMES, use_stemmer=use_stemmer, aggregate="max")
    scorer = RougeScorer(NAMES, use_stemmer=use_stemmer)
    theirs = [scorer.score_multi(texts, text) for text, texts in zip(predictions, references, strict=True)]
    for name in NAMES:
        assert ours[name].tolist() == [each[name].fmeasure for each in theirs]


def test_a_name_is_rouge_or_a_metric_of_the_evaluate_library():
    assert all(map(is_rouge, [*NAMES, "rouge9"]))
    assert not any(map(is_rouge, ["bertscore", "metrics/rouge_like", "./rouge"]))


@pytest.mark.parametrize("name", ["rouge", "rouge0", "rouge10", "rougel", "rougeW"])
def test_a_misspelt_rouge_is_an_error_and_not_a_hub_metric(name):
    with pytest.raises(InputError, match=rf"unknown ROUGE variant \(got '{name}'\); use rouge1 to rouge9"):
        is_rouge(name)


def test_only_rouge_can_be_scored_here():
    with pytest.raises(InputError, match="not a ROUGE variant \\(got 'bertscore'\\)"):
        score("a", ["a"], ["bertscore"])


def test_has_words_says_what_rouge_can_read():
    assert has_words("Éa")
    assert has_words("7")
    assert not has_words("会议推迟了。")
    assert not has_words(" \n?")
