import numpy as np
import pytest

from summtune.evaluator.aggregation import by_dialogue, by_references

PAIRS = np.array([[0.1, 0.9], [0.5, 0.1], [0.3, 0.3], [0.2, 0.4]])
COUNTS = [2, 1, 1]


def test_a_dialogues_score_is_the_mean_over_its_references():
    np.testing.assert_allclose(by_dialogue(PAIRS, COUNTS, "mean"), [[0.3, 0.5], [0.3, 0.3], [0.2, 0.4]])


def test_a_dialogues_score_may_be_the_best_reference_of_each_metric():
    np.testing.assert_allclose(by_dialogue(PAIRS, COUNTS, "max"), [[0.5, 0.9], [0.3, 0.3], [0.2, 0.4]])


def test_a_single_metric_may_be_a_vector():
    np.testing.assert_allclose(by_dialogue(PAIRS[:, 0], COUNTS, "mean"), [0.3, 0.3, 0.2])


def test_by_references_gives_mean_max_and_each_reference():
    found = by_references(np.array([0.1, 0.5, 0.3, 0.7]), [2, 2])
    assert found.mean == pytest.approx(0.4)
    assert found.max == pytest.approx(0.6)
    assert found.each == pytest.approx((0.2, 0.6))


def test_each_reference_is_none_for_different_numbers_of_references():
    assert by_references(PAIRS[:, 0], COUNTS).each is None
